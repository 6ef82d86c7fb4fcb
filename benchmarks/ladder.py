"""What a ladder costs beside adapters in the last K = 4 blocks: a streaming step of ViT-B/16, parameters, the ring.

    python -m benchmarks.ladder [--bundles DIR] [--turns N] [--threads N] [--smallest] [--json FILE]

Weights are random: they cost what trained ones do. `--bundles` holds the folders blocks and ladder, each with the
bundles f32 and i8 (dynamic int8), made where they are missing. Every bundle steps on every engine, in turns, as in
`benchmarks.streaming`; a ratio is the ladder's step by that of blocks in the same round. The ring is the tokens of a
window's T = 8 frames. Training is a row of `maclip bench-train`, accuracy is `benchmarks.ladder_accuracy`.

Predicted before it was measured: a step of the ladder is 35 GFLOP for CLIP on one frame, 1.9 for the side layers of one
frame and 15 for those of the window, 52 in all where blocks need 102: 0.51 of the time if both ran at the same rate.
Side layers are narrow (256) and the window's attention along time is many small products: at 0.7 of the rate, 0.58.
Parameters 12.6 M, with TPCM 15.7 M. Ring: 6 x 197 + 5 rows of 256 halves a frame, 0.61 MB; blocks 197 x 768 floats,
the same 0.61.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.command import parse, parser, run
from benchmarks.streaming_runners import BUNDLES, FRAMES, SMALLEST, Exporting, Model, Stream, Turn, random_model
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.tools.measuring.child import Child, serve
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.spread import Times
from maclip_runtime.tools.measuring.turns import take_turns

TURNS, SMALLEST_TURNS, THREADS = 20, 2, 2
KINDS = ("blocks", "ladder")
VIT_B_16 = Model("ViT-B-16", "none", 4, BUNDLES)
BYTES = {"float32": 4, "float16": 2}
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One bundle on one engine: milliseconds of a step, by stage, and against blocks on the same engine."""

    kind: str
    engine: str
    precision: str
    best_ms: float
    p50_ms: float
    ratio: float
    stages_ms: dict[str, float]  # medians


@dataclass(frozen=True)
class Size:
    """One kind of adapters: what is tuned in the image tower and in all, and the tokens of a window."""

    kind: str
    adapters: int
    tuned: int
    ring_mib: float


def main() -> None:
    """Measure, print tables, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument("--bundles", type=Path, help="folders blocks and ladder of bundles; made where missing")
    options.add_argument("--turns", type=int, default=TURNS, help=f"steps of each runner; {TURNS} by default")
    options.add_argument("--threads", type=int, default=THREADS, help=f"of each runner; {THREADS} by default")
    chosen = parse(options)
    blocks, turns = (SMALLEST, SMALLEST_TURNS) if chosen.smallest else (VIT_B_16, chosen.turns)
    models = {"blocks": blocks, "ladder": replace(blocks, adapters="ladder", adapted_depth=None)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.bundles or Path(scratch)
        for kind, model in models.items():
            make_bundles(folder / kind, model)
        machine = machine_facts()  # with the load before the turns
        rows = measure(folder, blocks, turns, chosen.threads)
        sizes = [size_of(kind, model, folder / kind / "f32") for kind, model in models.items()]
    show(rows, sizes, blocks)
    if chosen.json:
        settings = {"turns": turns, "threads": chosen.threads, "frames": FRAMES, "adapted_depth": blocks.adapted_depth}
        facts = {"rows": [asdict(row) for row in rows], "sizes": [asdict(size) for size in sizes]}
        write_json(chosen.json, {"machine": machine, "settings": settings, **facts})


def make_bundles(folder: Path, model: Model) -> None:
    """Export what is missing in `folder`, in a process of its own for its memory."""
    if not all((folder / name / "manifest.json").is_file() for name in model.bundles):
        with Child(serve, Exporting, folder, model) as exporting:
            exporting.turn("export")


def measure(folder: Path, model: Model, turns: int, threads: int) -> list[Row]:
    """Both kinds on every engine, in turns."""
    engines = [("onnxruntime", "float32", "f32", "cpu")]
    if model is not SMALLEST:
        engines.insert(0, ("onnxruntime", "int8", "i8", "cpu"))
        engines += [("OpenVINO", "bf16", "f32", "openvino")] * bool(find_spec("openvino"))
    found = []
    for engine, precision, name, device in engines:
        with ExitStack() as stack:
            children = {
                kind: stack.enter_context(Child(serve, Stream, folder / kind / name, device, threads)) for kind in KINDS
            }
            works = {kind: lambda child=child: child.turn("step") for kind, child in children.items()}  # type: ignore[misc]
            steps: dict[str, list[Turn]] = take_turns(works, turns)
        found += [row(kind, engine, precision, steps) for kind in KINDS]
    return found


def row(kind: str, engine: str, precision: str, steps: dict[str, list[Turn]]) -> Row:
    """The figures of one kind's turns, against those of blocks."""
    own = steps[kind]
    times = Times.of([step.total_ms / 1e3 for step in own])
    stages = {stage: statistics.median(step.stages_ms.get(stage, 0.0) for step in own) for stage in own[0].stages_ms}
    ratio = statistics.median(a.total_ms / b.total_ms for a, b in zip(own, steps["blocks"], strict=True))
    return Row(kind, engine, precision, times.best, times.p50, ratio, stages)


def size_of(kind: str, model: Model, bundle: Path) -> Size:
    """What is tuned, and the tokens of a window."""
    made = random_model(model)
    tuned = sum(parameter.numel() for parameter in made.tuned_parameters())
    head = sum(parameter.numel() for parameter in made.prototype.parameters())
    tokens = Bundle.open(bundle).manifest.graphs["tower"].inputs[0]
    numbers = math.prod(n for n in tokens.shape if isinstance(n, int))
    return Size(kind, tuned - head, tuned, numbers * BYTES[tokens.dtype] / MIB)


def show(rows: list[Row], sizes: list[Size], model: Model) -> None:
    """Two tables."""
    console = results_console()
    lines = [
        (
            *(one.kind, one.engine, one.precision),
            ", ".join(f"{stage} {ms:.1f}" for stage, ms in one.stages_ms.items()),
            *(f"{one.best_ms:.0f}", f"{one.p50_ms:.0f}", f"{one.ratio:.2f}"),
        )
        for one in rows
    ]
    title = f"{model.backbone}, T = {FRAMES}: milliseconds a step (blocks: K = {model.adapted_depth})"
    headings = ("adapters", "engine", "precision", "by stage", "best", "p50", "against blocks")
    console.print(table(title, headings, lines, text_columns=4))
    small = [(one.kind, f"{one.adapters:,}", f"{one.tuned:,}", f"{one.ring_mib:.1f}") for one in sizes]
    console.print(table("sizes", ("adapters", "tuned in the tower", "with TPCM", "ring, MiB"), small, text_columns=1))


if __name__ == "__main__":
    run(main)
