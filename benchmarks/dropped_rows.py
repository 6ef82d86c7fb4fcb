"""The gain of not computing rows that are dropped (docs/method.md, section 8).

    python -m benchmarks.dropped_rows [--backbone ViT-B-16] [--repeats 20] [--threads 1] [--smallest] [--json FILE]

Three forms of the same visual path, all blocks adapted, N+3 tokens a frame, equal to 1e-5:
  all rows   as docs/method.md, section 2 writes it: every row has its query, then step 4 drops two of N+3; the last
             block computes every row, though only the class token's is read
  (a)        the dropped rows give keys and values only
  (a), (b)   also the last block computes the class token's row only: the model as it is

Predicted before it was measured. A block's operations for a frame, with D = 768, L = N+1 = 197 rows kept,
K = N+3 = 199 keys, a multiplication and its addition counted as two:
  all rows   9 K D^2 (q, k, v, output, adapter) + 4 K^2 D (attention) + 17 L D^2 (MLP, adapter) + 9 D^2 (temporal)
             = 3,159 M
  (a)        (4 K + 22 L + 9) D^2 + 4 K L D = 3,151 M, in the last block of (a), (b): (4 K + 31) D^2 + 4 K D = 488 M
Twelve blocks and the patch embedding (231 M), eight frames: 305.1, 304.4 and 283.1 G. If time follows operations,
  (a) gains 0.2 %, below what a timer sees, and (a), (b) together 7.2 % (1.078 times), in eager torch and in ONNX.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import maclip
from benchmarks.command import parse, parser, run
from benchmarks.small_model import small_model
from maclip.adapters.blocks import BlockAdapters
from maclip.backbones.image_towers import FrozenBlock
from maclip.layers import text_key_bias
from maclip.model.maclip import MaClip
from maclip_export.graphs import graphs_of
from maclip_export.onnx.writer import write_onnx
from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.turns import seconds_of, take_turns

TOLERANCE = 1e-5  # of the greatest feature
RANDOM_STD = 0.02


class Visual(nn.Module):
    """`MaClip.features` in one of three forms; all blocks must be adapted."""

    def __init__(self, model: MaClip, every_query: bool, every_last_row: bool) -> None:
        super().__init__()
        self.model, self.every_query, self.every_last_row = model, every_query, every_last_row

    def forward(self, frames: Tensor, text: Tensor, has_text: Tensor) -> Tensor:
        """uint8 [B, T, H, W, 3], [B, D'], bool [B] -> [B, T, D']."""
        model, image = self.model, self.model.image
        assert model.temporal_embedding is not None
        assert model.adapted_depth == model.layers
        x = model.stem(frames.to(model.pixel_mean.dtype).flatten(0, 1)).unflatten(0, frames.shape[:2])
        x = image.pre_norm(x + model.temporal_embedding[:, None])
        for i, block in enumerate(image.blocks):
            adapters = model.blocks[str(i)]
            assert isinstance(adapters, BlockAdapters)
            last = i == model.layers - 1
            if self.every_query:
                x = every_query(adapters, block, x, text, has_text)
            else:
                x = adapters(block, x, text, has_text, keep=1 if last and not self.every_last_row else None)
        return image.feature(x[:, :, :1].flatten(0, 1)).unflatten(0, x.shape[:2])


def every_query(adapters: BlockAdapters, block: FrozenBlock, x: Tensor, text: Tensor, has_text: Tensor) -> Tensor:
    """An adapted block as docs/method.md, section 2 writes it: all of z is computed, then two rows are dropped."""
    clips, frames, kept = x.shape[:3]
    h = block.norm_1(x[:, :, 0])
    moved = x[:, :, 0] + adapters.temporal(block.attention(h, h))
    token = adapters.text(text)[:, None, None].expand(-1, frames, -1, -1)
    z = torch.cat([x, moved.unsqueeze(2), token], dim=2).flatten(0, 1)  # (B*T, N+3, D)
    bias = text_key_bias(has_text, z.shape[1], z.dtype).repeat_interleave(frames, dim=0)[:, None, None]
    h = block.norm_1(z)
    seen = block.attention(h, h, bias)
    z = (z + seen + adapters.multimodal(seen))[:, :kept].unflatten(0, (clips, frames))
    h = block.norm_2(z)
    out: Tensor = z + block.mlp(h) + adapters.joint_scale * adapters.joint(h)
    return out


Runs = dict[str, dict[str, Callable[[], Any]]]  # by engine and form
FORMS = {"all rows": (True, True), "(a)": (False, True), "(a), (b)": (False, False)}


@torch.no_grad()
def main() -> None:
    """Measure, print and, with --json, write."""
    options = parser(__doc__)
    options.add_argument("--backbone", default="ViT-B-16")
    options.add_argument("--repeats", type=int, default=20, help="runs of each form (default 20)")
    options.add_argument("--threads", type=int, default=1)
    chosen = parse(options)
    repeats = 2 if chosen.smallest else chosen.repeats
    torch.set_num_threads(chosen.threads)
    machine = machine_facts()
    model = random_model(None if chosen.smallest else chosen.backbone)
    backbone = model.backbone.name
    forms = {name: Visual(model, *how).eval() for name, how in FORMS.items()}
    if chosen.smallest:
        del forms["(a)"]  # an export takes seconds
    inputs = random_inputs(model)
    flops = {name: count(form, inputs) for name, form in forms.items()}
    predicted = {name: flops["all rows"] / flops[name] for name in flops}
    runs: Runs = {
        "eager torch": {name: lambda form=form: form(*inputs).numpy() for name, form in forms.items()},  # type: ignore[misc]
        "onnxruntime": {name: session(model, form, inputs, chosen.threads) for name, form in forms.items()},
    }
    differences = compare(runs, model.features(*inputs).numpy())
    result = measure(runs, repeats)
    headings = ("engine", "form", "GFLOP", "best ms", "median ms", "gain", "predicted")
    rows = [
        (
            *(engine, name, f"{flops[name] / 1e9:.1f}", f"{row['best_ms']:.1f}", f"{row['median_ms']:.1f}"),
            *(f"{row['gain']:.3f}", f"{predicted[name]:.3f}"),
        )
        for engine, by_form in result.items()
        for name, row in by_form.items()
    ]
    console = results_console()
    console.print(table(f"{backbone}, one clip, {chosen.threads} threads", headings, rows, text_columns=2))
    console.print(f"features differ by up to {max(differences.values()):.1e} of the greatest ({TOLERANCE:g} allowed)")
    if chosen.json is not None:
        facts = {
            "machine": machine,
            "backbone": backbone,
            "threads": chosen.threads,
            "repeats": repeats,
            "flops": flops,
            "predicted_gain": predicted,
            "differences": differences,
            "measured": result,
        }
        write_json(chosen.json, facts)


def random_model(backbone: str | None) -> MaClip:
    """All blocks adapted, every tuned tensor random (adapters of zeros would hide mistakes); None: one small block."""
    if backbone is None:
        model = small_model("one block", feature_width=32, frames=2, adapters="blocks")
    else:
        model = maclip.build(backbone, "none", adapters="blocks")
    torch.manual_seed(0)
    for parameter in model.tuned_parameters():
        nn.init.normal_(parameter, std=RANDOM_STD)
    return model


def random_inputs(model: MaClip) -> tuple[Tensor, Tensor, Tensor]:
    """One clip of noise with a text: the longest way through the graph."""
    size = model.backbone.preprocess.size
    frames = torch.randint(0, 256, (1, model.config.frames, size, size, 3), dtype=torch.uint8)
    text = nn.functional.normalize(torch.randn(1, model.feature_width), dim=-1)
    return frames, text, torch.ones(1, dtype=torch.bool)


def count(form: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Operations of one clip, counted by torch; without the elementwise ones."""
    with FlopCounterMode(display=False) as counter:
        form(*inputs)
    return int(counter.get_total_flops())


def session(model: MaClip, form: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Callable[[], Any]:
    """A form as a float32 graph, in onnxruntime."""
    graph = dataclasses.replace(graphs_of(model)[0], module=form)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = write_onnx(graph, Path(folder))[0]
        opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {spec.name: value.numpy() for spec, value in zip(graph.inputs, inputs, strict=True)}
    return lambda: opened.run(None, feed)[0]


def compare(runs: Runs, expected: Any) -> dict[str, float]:
    """The worst difference of each form from the model's features, as a share of the greatest."""
    found = {
        f"{engine}, {name}": float(abs(run() - expected).max() / abs(expected).max())
        for engine, rows in runs.items()
        for name, run in rows.items()
    }
    wrong = {name: difference for name, difference in found.items() if not difference < TOLERANCE}
    if wrong:
        raise MaclipError(
            "bench-failed", f"The forms do not give the same features: {wrong}.", "Repair the model.", EXIT_OUR_FAULT
        )
    return found


def measure(runs: Runs, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of each form, in turns round all of them; `gain` is that of the best times."""
    works = {
        (engine, name): lambda work=work: seconds_of(work)  # type: ignore[misc]
        for engine, by_form in runs.items()
        for name, work in by_form.items()
    }
    seconds = take_turns(works, repeats)
    return {
        engine: {
            name: {
                "best_ms": 1000 * min(seconds[engine, name]),
                "median_ms": 1000 * statistics.median(seconds[engine, name]),
                "gain": min(seconds[engine, "all rows"]) / min(seconds[engine, name]),
            }
            for name in by_form
        }
        for engine, by_form in runs.items()
    }


if __name__ == "__main__":
    run(main)
