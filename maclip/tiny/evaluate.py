"""What the tiny CLIP can do on frames it never saw: `python -m maclip.tiny.evaluate [--write]`.

Zero-shot colour, kind, size and count from prompts, and a linear probe of x and y from the image feature.
`--write` puts the figures into `model_card.json` and `model_card.md` beside the weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from maclip.tiny import FOLDER, WEIGHTS, tokenizer
from maclip.world.scenes import Scene, make_thing, place_apart, render_scene
from maclip.world.shapes import COLOURS, KINDS, SIZES
from maclip_runtime.errors import MaclipError

EVALUATION_SEED = 777_000  # never used in training
COUNT_PROMPTS = ("a shape", "two shapes", "three shapes", "four shapes")
PREFIXES = ("a photo of ", "")
RIDGE = 1e-2  # added to the features' covariance, relative to its mean diagonal

Floats = npt.NDArray[np.float64]


def new_model() -> nn.Module:
    """The tiny CLIP with random weights, from its configuration."""
    from open_clip.model import CLIP

    config = json.loads((FOLDER / "open_clip_config.json").read_text())
    model: nn.Module = CLIP(**config["model_cfg"])
    return model


def load(path: Path = WEIGHTS) -> nn.Module:
    """The tiny CLIP with weights from `path`, float32, in evaluation mode. Raises `weights-unavailable`."""
    model = new_model()
    weights = {name: value.float() for name, value in load_file(str(path)).items()}
    missing = set(model.state_dict()) ^ set(weights) - {"attn_mask"}
    if missing - {"attn_mask"}:
        raise MaclipError(
            "weights-unavailable",
            f"{path} does not fit the tiny CLIP's configuration (first at {min(missing - {'attn_mask'})}).",
            "Give weights that maclip.tiny.pretrain wrote.",
        )
    model.load_state_dict(weights, strict=False)
    return model.eval()


def _prompt_features(model: nn.Module, names: list[str], device: str) -> Tensor:
    """One unit vector for each name, averaged over the prefixes: float32 [C, D]."""
    tokens = tokenizer()
    rows = []
    for prefix in PREFIXES:
        text = model.encode_text(tokens([prefix + name for name in names]).to(device))  # type: ignore[operator]
        rows.append(functional.normalize(text.float(), dim=-1))
    return functional.normalize(torch.stack(rows).mean(0), dim=-1)


def _image_features(model: nn.Module, frames: npt.NDArray[np.uint8], device: str) -> Tensor:
    """Unit vectors float32 [F, D] of frames uint8 [F, 64, 64, 3]."""
    config = json.loads((FOLDER / "open_clip_config.json").read_text())["preprocess_cfg"]
    mean = torch.tensor(config["mean"], device=device).view(1, 3, 1, 1)
    std = torch.tensor(config["std"], device=device).view(1, 3, 1, 1)
    rows = []
    for start in range(0, len(frames), 256):
        images = torch.from_numpy(frames[start : start + 256]).to(device).permute(0, 3, 1, 2).float() / 255
        rows.append(functional.normalize(model.encode_image((images - mean) / std).float(), dim=-1))  # type: ignore[operator]
    return torch.cat(rows)


def _accuracy(images: Tensor, prompts: Tensor, truth: list[int]) -> float:
    chosen = (images @ prompts.T).argmax(dim=-1).cpu()
    return float((chosen == torch.tensor(truth)).float().mean())


def probe(features: Floats, targets: Floats) -> float:
    """R2 of a ridge regression of targets [F, K] on features [F, D], fitted on the first two thirds, mean over K."""
    half = len(features) * 2 // 3
    centre, middle = features[:half].mean(0), targets[:half].mean(0)
    x, y = features[:half] - centre, targets[:half] - middle
    covariance = x.T @ x
    covariance += np.eye(len(covariance)) * RIDGE * covariance.trace() / len(covariance)
    weights = np.linalg.solve(covariance, x.T @ y)
    error = targets[half:] - ((features[half:] - centre) @ weights + middle)
    spread = targets[half:] - targets[half:].mean(0)
    return float((1 - (error**2).sum(0) / (spread**2).sum(0)).mean())


@torch.inference_mode()
def evaluate(model: nn.Module, device: str = "cpu", scenes: int = 2048) -> dict[str, float]:
    """Accuracies and R2, 0..1, on `scenes` single shapes and half as many groups, for the count."""
    training = model.training
    model.eval()
    rng = np.random.default_rng(EVALUATION_SEED)
    things = [make_thing(rng) for _ in range(scenes)]
    singles = _image_features(model, np.stack([render_scene(Scene((thing,)), rng) for thing in things]), device)
    groups, counts = [], []
    for index in range(scenes // 2):
        first = make_thing(rng, size="small")
        like = [make_thing(rng, first.kind, first.colour, "small", first.shape.texture) for _ in range(index % 4)]
        scene = Scene(place_apart(rng, [first, *like]))
        groups.append(render_scene(scene, rng))
        counts.append(len(scene.things) - 1)
    many = _image_features(model, np.stack(groups), device)
    kinds, colours, sizes = list(KINDS), list(COLOURS), list(SIZES)
    places = np.array([[thing.shape.x, thing.shape.y] for thing in things])
    colour_prompts = [f"{'an' if c == 'orange' else 'a'} {c} shape" for c in colours]
    figures = {
        "colour": _accuracy(
            singles, _prompt_features(model, colour_prompts, device), [colours.index(t.colour) for t in things]
        ),
        "kind": _accuracy(
            singles, _prompt_features(model, [f"a {k}" for k in kinds], device), [kinds.index(t.kind) for t in things]
        ),
        "size": _accuracy(
            singles,
            _prompt_features(model, [f"a {s} shape" for s in sizes], device),
            [sizes.index(t.size) for t in things],
        ),
        "count": _accuracy(many, _prompt_features(model, list(COUNT_PROMPTS), device), counts),
        "position_r2": probe(singles.double().cpu().numpy(), places),
    }
    model.train(training)
    return figures


def main(arguments: list[str]) -> None:
    """Print the figures as JSON; with --write also the model card."""
    parser = argparse.ArgumentParser(prog="python -m maclip.tiny.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scenes", type=int, default=4096)
    parser.add_argument("--write", action="store_true", help="write model_card.json and model_card.md")
    parser.add_argument("--trained-with", default="", help="the command that made the weights, for the card")
    options = parser.parse_args(arguments)
    figures = evaluate(load(options.weights), options.device, options.scenes)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
    if options.write:
        from maclip.tiny.card import write_card

        write_card(options.weights.parent, options.weights, figures, options.scenes, options.trained_with)


if __name__ == "__main__":
    main(sys.argv[1:])
