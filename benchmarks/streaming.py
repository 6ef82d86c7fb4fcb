"""A streaming step against eager torch that recomputes its window: ViT-B/16, the last K = 4 blocks adapted, T = 8.

    python -m benchmarks.streaming [--json FILE] [--bundles DIR] [--turns N] [--threads N]

Weights are random: they cost what trained ones do. `--bundles` is where the bundles f32 and i8 (dynamic int8) lie or
are made. All runners go in turns, each in a process of its own with `threads` threads: eager torch's `MaClip.features`
on the window's 8 prepared frames, and `Recognizer.watch` with each bundle on a live source of 640 x 480 frames, one
a grid point: a step is what a frame sets off there (prepare, the stem on one frame, the tower on the window, match
with 3 classes, decide), from the moment the frame is handed over until the verdict. Decoding is the source's. "other"
is all of a step but stem and tower. Memory is what the runner's process holds after all turns, libraries included.

Predicted before it was measured: a clip is 265 GFLOP, of which a step needs 23 for 8 blocks of one frame and 79 for 4
blocks of 8 frames, 2.6 times less. int8 did a whole clip 3.1 times as quickly as eager torch on 2 cores of an AMD EPYC
(bench_vit_b16.json): 8 times in all; float32 2.9 times; OpenVINO in bf16 6 times. 12 times would be 90 % of that
processor's int8 peak, softmax and norms included. Prepare 2 ms, copies of tokens 1 ms, match 1 ms: 2 % of a step in
int8. Memory 450 MB in int8.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.streaming_runners import BACKBONE, DEPTH, FRAMES, Exporting, Stream, Torch, Turn
from maclip_runtime.tools.measuring.child import Child, serve

TURNS, THREADS = 30, 2
NETWORK = ("stem", "tower", "visual")


@dataclass(frozen=True)
class Row:
    """One runner: milliseconds of a step (of torch: of a window), and `ratio`, torch's median by this one's."""

    runner: str
    precision: str
    best_ms: float
    p50_ms: float
    p90_ms: float
    ratio: float
    stages_ms: dict[str, float]  # medians
    other_share: float | None  # of a step that is not the network
    memory_mib: float
    cosine: float  # the lowest of a frame's features with torch's


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--bundles", type=Path, help="the folder of the bundles f32 and i8; made where they are not")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"steps of each runner; {TURNS} by default")
    parser.add_argument("--threads", type=int, default=THREADS, help=f"of each runner; {THREADS} by default")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.bundles or Path(scratch)
        make_bundles(folder)
        from maclip_runtime.tools.measuring.machine import machine_facts

        machine = machine_facts()  # with the load before the turns
        rows = measure(folder, chosen.turns, chosen.threads)
    show(rows)
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {"turns": chosen.turns, "threads": chosen.threads, "frames": FRAMES, "adapted_depth": DEPTH}
        content = {"machine": machine, "settings": settings, "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def make_bundles(folder: Path) -> None:
    """Export f32 and i8 into `folder` where they are not there yet, in a process of its own for its memory."""
    if not all((folder / name / "manifest.json").is_file() for name in ("f32", "i8")):
        with Child(serve, Exporting, folder) as exporting:
            exporting.turn("export")


def measure(folder: Path, turns: int, threads: int) -> list[Row]:
    """All runners in turns."""
    wanted = [("maclip-run, onnxruntime", "int8", "i8", "cpu"), ("maclip-run, onnxruntime", "float32", "f32", "cpu")]
    if find_spec("openvino"):
        wanted.append(("maclip-run, OpenVINO", "bf16", "f32", "openvino"))
    with ExitStack() as stack:
        workers = [stack.enter_context(Child(serve, Torch, threads))]
        workers += [
            stack.enter_context(Child(serve, Stream, folder / name, device, threads)) for _, _, name, device in wanted
        ]
        taken: list[list[Turn]] = [[] for _ in workers]
        for _ in range(turns):
            for worker, steps in zip(workers, taken, strict=True):
                steps.append(worker.turn("step"))
        memory = [worker.turn("memory") for worker in workers]
    named = [("eager torch, whole window", "float32"), *[(runner, precision) for runner, precision, *_ in wanted]]
    reference = workers[0].facts.features
    eager_ms = statistics.median(turn.total_ms for turn in taken[0])
    return [
        row(name, steps, eager_ms, mib, cosine(worker.facts.features, reference))
        for name, worker, steps, mib in zip(named, workers, taken, memory, strict=True)
    ]


def row(named: tuple[str, str], steps: Sequence[Turn], eager_ms: float, memory_mib: float, near: float) -> Row:
    """The figures of one runner's turns."""
    totals = [step.total_ms for step in steps]
    stages = {
        stage: statistics.median(step.stages_ms.get(stage, 0.0) for step in steps) for stage in steps[0].stages_ms
    }
    others = [1 - sum(step.stages_ms.get(stage, 0.0) for stage in NETWORK) / step.total_ms for step in steps]
    p50 = statistics.median(totals)
    return Row(
        *named,
        best_ms=min(totals),
        p50_ms=p50,
        p90_ms=float(np.quantile(totals, 0.9)),
        ratio=eager_ms / p50,
        stages_ms=stages,
        other_share=statistics.median(others) if stages else None,
        memory_mib=memory_mib,
        cosine=near,
    )


def cosine(features: Any, reference: Any) -> float:
    """The lowest cosine of a frame's features [T, D'] with those of `reference`."""
    lengths = np.linalg.norm(features, axis=-1) * np.linalg.norm(reference, axis=-1)
    return float(((features * reference).sum(-1) / lengths).min())


def show(rows: list[Row]) -> None:
    """A table of all figures."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{BACKBONE}, K = {DEPTH}, T = {FRAMES}: milliseconds a step")
    for heading in (
        "runner",
        "precision",
        "best",
        "p50",
        "p90",
        "ratio",
        "by stage",
        "other",
        "MiB",
        "cosine",
    ):
        table.add_column(heading, justify="left" if heading in ("runner", "precision", "by stage") else "right")
    for each in rows:
        stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in each.stages_ms.items())
        share = "" if each.other_share is None else f"{each.other_share:.1%}"
        times = (f"{each.best_ms:.0f}", f"{each.p50_ms:.0f}", f"{each.p90_ms:.0f}", f"{each.ratio:.2f}")
        table.add_row(
            each.runner, each.precision, *times, stages, share, f"{each.memory_mib:.0f}", f"{each.cosine:.5f}"
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
