"""A step of a stream and a clip in every engine and precision, against eager torch that computes the whole window.

    python -m benchmarks.streaming [--backbone NAME] [--bundles DIR] [--turns N] [--threads N] [--smallest]
        [--json FILE]

A ViT-B/16 by default; the last K = 4 blocks adapted, T = 8.

Weights are random: they cost what trained ones do. `--bundles` is the folder of the bundles f32 and i8 (dynamic int8),
which are made where they are missing. All runners go in turns, each in a process of its own with `threads` threads:
eager torch's `MaClip.features` on the window's 8 prepared frames, and `Recognizer.watch` with each bundle on a live
source of 640 x 480 frames, one a grid point. A step is what a frame sets off there (prepare, the stem on one frame, the
tower on the window, match with 3 classes, decide), from the moment the frame is handed over until the verdict. Decoding
is the source's. "other" is all of a step but stem and tower. A clip is `Recognizer.embed` of 8 such frames. "peak" is
the share of the fastest matrix product in that precision by any library here, measured in the same turns, that the
fastest clip reached. Memory is what the runner's process holds after all turns, libraries included. "start" is the time
from the start of a process to the features of its first clip, with OpenVINO's compiled graphs in the cache.

Predicted before it was measured: a clip is 265 GFLOP, of which a step needs 23 for 8 blocks of one frame and 79 for 4
blocks of 8 frames, 2.6 times less. int8 did a whole clip 3.1 times as quickly as eager torch on 2 cores of an AMD EPYC
(bench_vit_b16.json): 8 times in all; float32 2.9 times; OpenVINO in bf16 6 times. 12 times would be 90 % of that
processor's int8 peak, softmax and norms included. Prepare 2 ms, copies of tokens 1 ms, match 1 ms: 2 % of a step in
int8. Memory 450 MB in int8.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.command import parse, parser, run
from benchmarks.streaming_runners import (
    BUNDLES,
    FRAMES,
    SMALLEST,
    Cost,
    Exporting,
    Model,
    Stream,
    Torch,
    Turn,
    start,
)
from maclip_export.bench.measure import worst_cosine
from maclip_export.bench.peak import Products, Rate, product_libraries, product_shapes
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.child import Child, run_alone, serve
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.spread import Times
from maclip_runtime.tools.measuring.turns import take_turns

TURNS, SMALLEST_TURNS, THREADS = 30, 2, 2
BACKBONE, ADAPTED_DEPTH = "ViT-B-16", 4
NETWORK = ("stem", "tower", "visual")


@dataclass(frozen=True)
class Row:
    """One runner: milliseconds of a step (of torch: of a window), and `ratio`, torch's median by this one's.

    clip_ms, clip_ratio: the same of a clip, medians.
    peak_share: operations a second of the fastest clip by those of the fastest product in that precision.
    start_s: from the start of a process to its first features; None for torch.
    """

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
    clip_ms: float
    clip_ratio: float
    peak_share: float | None
    start_s: float | None


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument("--backbone", default=BACKBONE, help=f"with random weights; {BACKBONE} by default")
    options.add_argument("--bundles", type=Path, help="the folder of the bundles f32 and i8; made where missing")
    options.add_argument("--turns", type=int, default=TURNS, help=f"steps of each runner; {TURNS} by default")
    options.add_argument("--threads", type=int, default=THREADS, help=f"of each runner; {THREADS} by default")
    chosen = parse(options)
    model, turns = Model(chosen.backbone, "none", ADAPTED_DEPTH, BUNDLES), chosen.turns
    if chosen.smallest:
        model, turns = SMALLEST, SMALLEST_TURNS
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.bundles or Path(scratch)
        make_bundles(folder, model)
        machine = machine_facts()  # with the load before the turns
        rows, peaks = measure(folder, model, turns, chosen.threads)
    show(rows, peaks, model)
    if chosen.json:
        settings = {"backbone": model.backbone, "turns": turns, "threads": chosen.threads, "frames": FRAMES}
        settings["adapted_depth"] = model.adapted_depth
        figures = {"peaks": [asdict(peak) for peak in peaks], "rows": [asdict(row) for row in rows]}
        write_json(chosen.json, {"machine": machine, "settings": settings, **figures})


def make_bundles(folder: Path, model: Model) -> None:
    """Export what is missing in `folder`, in a process of its own for its memory."""
    if not all((folder / name / "manifest.json").is_file() for name in model.bundles):
        with Child(serve, Exporting, folder, model) as exporting:
            exporting.turn("export")


def measure(folder: Path, model: Model, turns: int, threads: int) -> tuple[list[Row], list[Rate]]:
    """All runners in turns, and the fastest product in each precision."""
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
        torch = stack.enter_context(Child(serve, Torch, model, threads))
        children = [torch]
        children += [
            stack.enter_context(Child(serve, Stream, folder / name, device, threads)) for _, _, name, device in wanted
        ]
        products = [stack.enter_context(one) for one in product_children(torch.facts.cost, named, threads)]
        works: dict[tuple[str, int], Callable[[], Any]] = {}
        for work in ("step", "clip"):
            works |= {(work, number): partial(child.turn, work) for number, child in enumerate(children)}
        works |= {("products", number): partial(child.turn, "products") for number, child in enumerate(products)}
        turned = take_turns(works, turns)
        memory = [child.turn("memory") for child in children]
    best: dict[str, Rate] = {}
    for rate in sorted(chain(*chain(*(turned["products", number] for number in range(len(products))))), key=speed):
        best[rate.precision] = rate
    starts = [None, *(run_alone(start, folder / name, device, threads) for _, _, name, device in wanted)]
    reference = torch.facts
    eager = [Times.of([turn.total_ms / 1e3 for turn in turned[work, 0]]).p50 for work in ("step", "clip")]
    rows = []
    for number, child in enumerate(children):
        clip = Times.of([turn.total_ms / 1e3 for turn in turned["clip", number]])
        peak = best.get(named[number][1].split()[0])
        rows.append(
            row(
                named[number],
                turned["step", number],
                eager[0],
                memory_mib=memory[number],
                cosine=worst_cosine(child.facts.features, reference.features),
                clip_ms=clip.p50,
                clip_ratio=eager[1] / clip.p50,
                peak_share=1e3 * reference.cost.flops / clip.best / peak.flops if peak else None,
                start_s=starts[number],
            )
        )
    return rows, list(best.values())


def product_children(cost: Cost, named: Sequence[tuple[str, str]], threads: int) -> Iterator[Child]:
    """Children for the products in each precision that a runner multiplies in; a library without one is left out."""
    wanted: dict[str, list[str]] = {}
    for precision in sorted({precision.split()[0] for _, precision in named}):
        for library in product_libraries("cpu", precision):
            wanted.setdefault(library, []).append(precision)
    for library, precisions in wanted.items():
        with suppress(MaclipError):
            shapes = product_shapes(cost.rows, cost.width, "cpu")
            yield Child(serve, Products, library, "cpu", tuple(precisions), shapes, threads)


def speed(rate: Rate) -> float:
    """Operations a second."""
    return rate.flops


def row(named: tuple[str, str], steps: Sequence[Turn], eager_ms: float, **others: Any) -> Row:
    """The figures of one runner's turns; `others` are fields of `Row`."""
    times = Times.of([step.total_ms / 1e3 for step in steps])
    stages = {
        stage: statistics.median(step.stages_ms.get(stage, 0.0) for step in steps) for stage in steps[0].stages_ms
    }
    shares = [1 - sum(step.stages_ms.get(stage, 0.0) for stage in NETWORK) / step.total_ms for step in steps]
    return Row(
        *named,
        best_ms=times.best,
        p50_ms=times.p50,
        p90_ms=times.p90,
        ratio=eager_ms / times.p50,
        stages_ms=stages,
        other_share=statistics.median(shares) if stages else None,
        **others,
    )


def show(rows: list[Row], peaks: list[Rate], model: Model) -> None:
    """A table of all figures, and the peaks."""
    lines = [
        (
            *(one.runner, one.precision, ", ".join(f"{stage} {ms:.1f}" for stage, ms in one.stages_ms.items())),
            *(f"{one.best_ms:.0f}", f"{one.p50_ms:.0f}", f"{one.p90_ms:.0f}", f"{one.ratio:.2f}"),
            "" if one.other_share is None else f"{one.other_share:.1%}",
            *(f"{one.clip_ms:.0f}", f"{one.clip_ratio:.2f}"),
            "" if one.peak_share is None else f"{one.peak_share:.0%}",
            f"{one.memory_mib:.0f}",
            "" if one.start_s is None else f"{one.start_s:.1f}",
            f"{one.cosine:.5f}",
        )
        for one in rows
    ]
    title = f"{model.backbone}, K = {model.adapted_depth}, T = {FRAMES}: milliseconds of a step and of a clip"
    headings = (
        *("runner", "precision", "by stage", "best", "p50", "p90", "ratio", "other"),
        *("clip", "ratio", "peak", "MiB", "start s", "cosine"),
    )
    console = results_console()
    console.print(table(title, headings, lines, text_columns=3))
    for peak in peaks:
        console.print(f"peak in {peak.precision}: {peak.flops / 1e9:,.0f} GFLOP/s by {peak.library}")


if __name__ == "__main__":
    run(main)
