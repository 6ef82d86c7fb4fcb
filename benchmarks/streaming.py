"""A streaming step against eager torch that recomputes its window: ViT-B/16, the last K = 4 blocks adapted, T = 8.

    python -m benchmarks.streaming [--bundles DIR] [--turns N] [--threads N] [--smallest] [--json FILE]

Weights are random: they cost what trained ones do. `--bundles` is the folder of the bundles f32 and i8 (dynamic int8),
which are made where they are missing. All runners go in turns, each in a process of its own with `threads` threads:
eager torch's `MaClip.features` on the window's 8 prepared frames, and `Recognizer.watch` with each bundle on a live
source of 640 x 480 frames, one a grid point. A step is what a frame sets off there (prepare, the stem on one frame, the
tower on the window, match with 3 classes, decide), from the moment the frame is handed over until the verdict. Decoding
is the source's. "other" is all of a step but stem and tower. Memory is what the runner's process holds after all turns,
libraries included.

Predicted before it was measured: a clip is 265 GFLOP, of which a step needs 23 for 8 blocks of one frame and 79 for 4
blocks of 8 frames, 2.6 times less. int8 did a whole clip 3.1 times as quickly as eager torch on 2 cores of an AMD EPYC
(bench_vit_b16.json): 8 times in all; float32 2.9 times; OpenVINO in bf16 6 times. 12 times would be 90 % of that
processor's int8 peak, softmax and norms included. Prepare 2 ms, copies of tokens 1 ms, match 1 ms: 2 % of a step in
int8. Memory 450 MB in int8.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.command import parse, parser, run
from benchmarks.streaming_runners import FRAMES, SMALLEST, VIT_B_16, Exporting, Model, Stream, Torch, Turn
from maclip_export.bench.measure import worst_cosine
from maclip_runtime.tools.measuring.child import Child, serve
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.spread import Times
from maclip_runtime.tools.measuring.turns import take_turns

TURNS, SMALLEST_TURNS, THREADS = 30, 2, 2
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
    options = parser(__doc__)
    options.add_argument("--bundles", type=Path, help="the folder of the bundles f32 and i8; made where missing")
    options.add_argument("--turns", type=int, default=TURNS, help=f"steps of each runner; {TURNS} by default")
    options.add_argument("--threads", type=int, default=THREADS, help=f"of each runner; {THREADS} by default")
    chosen = parse(options)
    model, turns = (SMALLEST, SMALLEST_TURNS) if chosen.smallest else (VIT_B_16, chosen.turns)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.bundles or Path(scratch)
        make_bundles(folder, model)
        machine = machine_facts()  # with the load before the turns
        rows = measure(folder, model, turns, chosen.threads)
    show(rows, model)
    if chosen.json:
        settings = {"turns": turns, "threads": chosen.threads, "frames": FRAMES, "adapted_depth": model.adapted_depth}
        write_json(chosen.json, {"machine": machine, "settings": settings, "rows": [asdict(row) for row in rows]})


def make_bundles(folder: Path, model: Model) -> None:
    """Export what is missing in `folder`, in a process of its own for its memory."""
    if not all((folder / name / "manifest.json").is_file() for name in model.bundles):
        with Child(serve, Exporting, folder, model) as exporting:
            exporting.turn("export")


def measure(folder: Path, model: Model, turns: int, threads: int) -> list[Row]:
    """All runners in turns."""
    wanted = []
    openvino = find_spec("openvino") is not None
    if "i8" in model.bundles:
        wanted.append(("maclip-run, onnxruntime", "int8 dynamic", "i8-dynamic", "cpu"))
        wanted.append(("maclip-run, onnxruntime", "int8 static", "i8-static", "cpu"))
        wanted += [("maclip-run, OpenVINO", "int8 static", "i8-static", "openvino")] * openvino
    wanted.append(("maclip-run, onnxruntime", "float32", "f32", "cpu"))
    wanted += [("maclip-run, OpenVINO", "bf16", "f32", "openvino")] * openvino
    named = [("eager torch, whole window", "float32"), *[(runner, precision) for runner, precision, *_ in wanted]]
    with ExitStack() as stack:
        children = [stack.enter_context(Child(serve, Torch, model, threads))]
        children += [
            stack.enter_context(Child(serve, Stream, folder / name, device, threads)) for _, _, name, device in wanted
        ]
        works = {number: lambda child=child: child.turn("step") for number, child in enumerate(children)}  # type: ignore[misc]
        steps: dict[int, list[Turn]] = take_turns(works, turns)
        memory = [child.turn("memory") for child in children]
        reference = children[0].facts.features
        eager_ms = Times.of([turn.total_ms / 1e3 for turn in steps[0]]).p50
        return [
            row(named[number], steps[number], eager_ms, memory[number], worst_cosine(child.facts.features, reference))
            for number, child in enumerate(children)
        ]


def row(named: tuple[str, str], steps: Sequence[Turn], eager_ms: float, memory_mib: float, cosine: float) -> Row:
    """The figures of one runner's turns."""
    times = Times.of([step.total_ms / 1e3 for step in steps])
    stages = {
        stage: statistics.median(step.stages_ms.get(stage, 0.0) for step in steps) for stage in steps[0].stages_ms
    }
    others = [1 - sum(step.stages_ms.get(stage, 0.0) for stage in NETWORK) / step.total_ms for step in steps]
    return Row(
        *named,
        best_ms=times.best,
        p50_ms=times.p50,
        p90_ms=times.p90,
        ratio=eager_ms / times.p50,
        stages_ms=stages,
        other_share=statistics.median(others) if stages else None,
        memory_mib=memory_mib,
        cosine=cosine,
    )


def show(rows: list[Row], model: Model) -> None:
    """A table of all figures."""
    lines = [
        (
            *(one.runner, one.precision, ", ".join(f"{stage} {ms:.1f}" for stage, ms in one.stages_ms.items())),
            *(f"{one.best_ms:.0f}", f"{one.p50_ms:.0f}", f"{one.p90_ms:.0f}", f"{one.ratio:.2f}"),
            "" if one.other_share is None else f"{one.other_share:.1%}",
            *(f"{one.memory_mib:.0f}", f"{one.cosine:.5f}"),
        )
        for one in rows
    ]
    title = f"{model.backbone}, K = {model.adapted_depth}, T = {FRAMES}: milliseconds a step"
    headings = ("runner", "precision", "by stage", "best", "p50", "p90", "ratio", "other", "MiB", "cosine")
    results_console().print(table(title, headings, lines, text_columns=3))


if __name__ == "__main__":
    run(main)
