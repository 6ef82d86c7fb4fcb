"""A step and a clip on a GPU: CUDA, TensorRT and TensorRT for RTX in float32, half and int8, and how near they are.

    python -m benchmarks.gpu [--bundles DIR] [--devices cuda tensorrt rtx] [--turns 50] [--smallest] [--json FILE]

Was not run on a GPU: there was none. Its test runs it on the CPU's provider. ViT-B/16 with random weights, T = 8, the
last 4 blocks adapted. Each device and precision is a process of its own, and they take turns. A step is the stem on one
frame and the tower on 8; both ways are the calls that recognition makes, from frames in main memory to features in
main memory. The first clip includes loading and, for TensorRT, building what is not in the cache. GPU memory is what
the process adds to what the GPU held before. The reference of cosines and probabilities is the float32 bundle on the
CPU.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parse, parser, run
from benchmarks.gpu_runner import CLASSES, Facts, Runner
from benchmarks.streaming import make_bundles
from benchmarks.streaming_runners import FRAMES, SMALLEST, Model
from maclip_export.bench.measure import worst_cosine
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.child import Child, serve
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.spread import Times
from maclip_runtime.tools.measuring.turns import take_turns

VIT_B_16 = Model("ViT-B-16", "none", 4, ("f32", "f16", "i8"))
DEVICES, SMALLEST_DEVICES = ("cuda", "tensorrt", "rtx"), ("cpu",)
TURNS, SMALLEST_TURNS = 50, 2


@dataclass(frozen=True)
class Row:
    """One device in one precision; `failed` says why it has no figures."""

    device: str
    precision: str
    failed: str | None = None
    clip: Times | None = None
    step: Times | None = None
    first_s: float | None = None
    gpu_mib: float | None = None
    resident_mib: float | None = None
    cosine: float | None = None
    probability: float | None = None


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument("--bundles", type=Path, help="the folder of the bundles f32, f16 and i8; made where missing")
    options.add_argument("--devices", nargs="+", default=DEVICES, help=f"by default {', '.join(DEVICES)}")
    options.add_argument("--turns", type=int, default=TURNS, help=f"clips and steps of each; {TURNS} by default")
    chosen = parse(options)
    model, devices, turns = VIT_B_16, tuple(chosen.devices), chosen.turns
    if chosen.smallest:
        model, devices, turns = SMALLEST, SMALLEST_DEVICES, SMALLEST_TURNS
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.bundles or Path(scratch)
        make_bundles(folder, model)
        machine = machine_facts()
        rows = measure(folder, model, devices, turns)
    show(rows, model)
    if chosen.json:
        settings = {"turns": turns, "frames": FRAMES, "adapted_depth": model.adapted_depth, "classes": CLASSES}
        write_json(chosen.json, {"machine": machine, "settings": settings, "rows": [asdict(row) for row in rows]})


def measure(folder: Path, model: Model, devices: tuple[str, ...], turns: int) -> list[Row]:
    """All devices and precisions in turns; what does not start has a row that says why."""
    with ExitStack() as stack:
        reference = stack.enter_context(Child(serve, Runner, folder / "f32", "cpu"))
        children: dict[tuple[str, str], Child] = {}
        failed: list[Row] = []
        for device in devices:
            for name in model.bundles:
                try:
                    children[device, name] = stack.enter_context(Child(serve, Runner, folder / name, device))
                except MaclipError as error:
                    failed.append(Row(device, name, error.message))
        found = {
            work: take_turns({key: lambda c=child, w=work: c.turn(w) for key, child in children.items()}, turns)  # type: ignore[misc]
            for work in ("clip", "step")
        }
        rows = [row(key, child.facts, reference.facts, found) for key, child in children.items()]
    return rows + failed


def row(key: tuple[str, str], facts: Facts, reference: Facts, found: dict[str, Any]) -> Row:
    """The figures of one runner."""
    return Row(
        *key,
        clip=Times.of(found["clip"][key]),
        step=Times.of(found["step"][key]),
        first_s=facts.first_s,
        gpu_mib=facts.gpu_mib,
        resident_mib=facts.resident_mib,
        cosine=worst_cosine(facts.features, reference.features),
        probability=float(np.abs(facts.probabilities - reference.probabilities).max()),
    )


def show(rows: list[Row], model: Model) -> None:
    """A table of all figures; below it, what did not run."""
    console = results_console()
    lines = [
        (
            *(one.device, one.precision, f"{one.clip.p50:.2f}", f"{one.step.p50:.2f}", f"{one.first_s:.1f}"),
            *("-" if mib is None else f"{mib:.0f}" for mib in (one.gpu_mib, one.resident_mib)),
            *(f"{one.cosine:.5f}", f"{one.probability:.1e}"),
        )
        for one in rows
        if one.clip is not None and one.step is not None
    ]
    headings = ("device", "bundle", "clip ms", "step ms", "first s", "GPU MiB", "MiB", "cosine", "probability")
    title = f"{model.backbone}, K = {model.adapted_depth}, T = {FRAMES}: medians"
    console.print(table(title, headings, lines, text_columns=2))
    for one in rows:
        if one.failed is not None:
            console.print(f"{one.device}, {one.precision}: {one.failed}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    run(main)
