"""What is gained by not computing rows that are thrown away (docs/method.md, section 8).

    python benchmarks/dropped_rows.py --threads 2 --json benchmarks/results/dropped_rows.json

Three forms of the same visual path, all blocks adapted, N+3 tokens a frame, equal to 1e-5:
  all rows   docs/method.md, section 2, literally: every row has its query, then step 4 drops two of N+3; the last
             block computes every row, though only the class token's is read
  (a)        the dropped rows give keys and values only
  (a), (b)   also the last block computes the class token's row only: the model as it is

Prediction, written before measuring. A block's operations for a frame, with D = 768, L = N+1 = 197 rows kept,
K = N+3 = 199 keys, a multiplication and its addition counted as two:
  all rows   9 K D^2 (q, k, v, output, adapter) + 4 K^2 D (attention) + 17 L D^2 (MLP, adapter) + 9 D^2 (temporal)
             = 3,159 M
  (a)        (4 K + 22 L + 9) D^2 + 4 K L D = 3,151 M, in the last block of (a), (b): (4 K + 31) D^2 + 4 K D = 488 M
Twelve blocks and the patch embedding (231 M), eight frames: 305.1, 304.4 and 283.1 G. If time follows operations,
  (a) gains 0.2 %, below what a timer sees, and (a), (b) together 7.2 % (1.078 times), in eager torch and in ONNX.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import maclip
from maclip.adapters.blocks import BlockAdapters
from maclip.backbones.image_towers import FrozenBlock
from maclip.layers import text_key_bias
from maclip.model.maclip import MaClip
from maclip_export.graphs import graphs_of
from maclip_export.onnx.writer import write_onnx
from maclip_runtime.tools.measuring.machine import machine_facts

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
    """An adapted block as docs/method.md, section 2, writes it: all of z is computed, then two rows are dropped."""
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


FORMS = {"all rows": (True, True), "(a)": (False, True), "(a), (b)": (False, False)}


def main() -> None:
    """Measure, print and, with --json, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="ViT-B-16")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.set_grad_enabled(False)
    machine = machine_facts()
    model = random_model(chosen.backbone)
    forms = {name: Visual(model, *how).eval() for name, how in FORMS.items()}
    inputs = random_inputs(model)
    flops = {name: count(form, inputs) for name, form in forms.items()}
    runs: dict[str, dict[str, Callable[[], Any]]] = {
        "eager torch": {name: lambda form=form: form(*inputs).numpy() for name, form in forms.items()},  # type: ignore[misc]
        "onnxruntime": {name: session(model, form, inputs, chosen.threads) for name, form in forms.items()},
    }
    differences = compare(runs, model.features(*inputs).numpy())
    result = measure(runs, chosen.repeats)
    for engine, rows in result.items():
        for name, row in rows.items():
            print(
                f"{engine:12} {name:9} {flops[name] / 1e9:6.1f} GFLOP  best {row['best_ms']:8.1f} ms  median "
                f"{row['median_ms']:8.1f} ms  gain {row['gain']:.3f} (predicted {flops['all rows'] / flops[name]:.3f})"
            )
    print(f"features differ by up to {max(differences.values()):.1e} of the greatest ({TOLERANCE:g} allowed)")
    if chosen.json is not None:
        facts = {
            "machine": machine,
            "backbone": chosen.backbone,
            "threads": chosen.threads,
            "repeats": chosen.repeats,
            "flops": flops,
            "predicted_gain": {name: flops["all rows"] / flops[name] for name in flops},
            "differences": differences,
            "measured": result,
        }
        chosen.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def random_model(backbone: str) -> MaClip:
    """All blocks adapted, every tuned tensor random: adapters of zeros would hide mistakes."""
    model = maclip.build(backbone, "none")
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


def compare(runs: dict[str, dict[str, Callable[[], Any]]], expected: Any) -> dict[str, float]:
    """The worst difference of each form from the model's features, as a share of the greatest."""
    found = {
        f"{engine}, {name}": float(abs(run() - expected).max() / abs(expected).max())
        for engine, rows in runs.items()
        for name, run in rows.items()
    }
    wrong = {name: difference for name, difference in found.items() if not difference < TOLERANCE}
    if wrong:
        raise SystemExit(f"The forms do not give the same features: {wrong}")
    return found


def measure(runs: dict[str, dict[str, Callable[[], Any]]], repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of each form, in turns round all of them; `gain` is of the best times."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for engine, rows in runs.items():
            for name, run in rows.items():
                begun = time.perf_counter()
                run()
                seconds.setdefault((engine, name), []).append(time.perf_counter() - begun)
    return {
        engine: {
            name: {
                "best_ms": 1000 * min(seconds[engine, name]),
                "median_ms": 1000 * sorted(seconds[engine, name])[repeats // 2],
                "gain": min(seconds[engine, "all rows"]) / min(seconds[engine, name]),
            }
            for name in rows
        }
        for engine, rows in runs.items()
    }


if __name__ == "__main__":
    main()
