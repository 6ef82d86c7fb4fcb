"""The tiny CLIP's model card: what it is, what was measured, and the command that measures it again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from maclip.tiny import FOLDER

_CARD = """# The tiny CLIP

A small model of a drawn world, for trying the tool and testing it. It knows coloured shapes on drawn backgrounds and
the sentences that describe them, and nothing else: for real video take a real CLIP.

An ordinary open_clip folder: images of {image} x {image} px in patches of {patch}, {blocks} blocks of width {width};
texts of up to {context} tokens, {text_blocks} blocks of width {text_width}; {embed} features.
{parameters:,} parameters, {size:,} bytes in half precision. The tokenizer is a cut of CLIP's own merges (`bpe.txt.gz`).

Made by `{trained}` on frames drawn as it went, captioned with kind, colour, size, count and where.

## On {scenes:,} drawn frames it never saw
| what | figure |
| --- | --- |
| colour, zero-shot, 8-way | {colour:.1%} |
| kind of shape, zero-shot, 8-way | {kind:.1%} |
| small or large, zero-shot | {size_accuracy:.1%} |
| how many, zero-shot, 1 to 4 | {count:.1%} |
| where, R2 of a linear probe of x and y | {position_r2:.3f} |

Again: `python -m maclip.tiny.evaluate`
"""


def write_card(folder: Path, weights: Path, figures: dict[str, float], scenes: int, trained: str) -> None:
    """Write `model_card.json` and `model_card.md` into `folder`."""
    from safetensors import safe_open

    with safe_open(str(weights), framework="np") as file:
        parameters = sum(int(file.get_tensor(name).size) for name in file.keys())  # noqa: SIM118
    rounded = {name: round(value, 4) for name, value in figures.items()}
    record = {
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "parameters": parameters,
        "scenes": scenes,
        "figures": rounded,
        "trained_with": trained,
        "command": "python -m maclip.tiny.evaluate",
    }
    (folder / "model_card.json").write_text(json.dumps(record, indent=2) + "\n")
    shown = {name: value for name, value in rounded.items() if name != "size"}
    model = json.loads((FOLDER / "open_clip_config.json").read_text())["model_cfg"]
    vision, words = model["vision_cfg"], model["text_cfg"]
    text = _CARD.format(
        image=vision["image_size"],
        patch=vision["patch_size"],
        blocks=vision["layers"],
        width=vision["width"],
        context=words["context_length"],
        text_blocks=words["layers"],
        text_width=words["width"],
        embed=model["embed_dim"],
        parameters=parameters,
        size=weights.stat().st_size,
        trained=trained,
        scenes=scenes,
        size_accuracy=rounded["size"],
        **shown,
    )
    (folder / "model_card.md").write_text(text)
