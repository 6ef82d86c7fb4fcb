"""Matching at scale: match.onnx of every metric at the sizes of ViT-B (8 frames, width 512), random weights.

    python -m benchmarks.match [--metrics otam,bimhm,trx] [--smallest] [--json FILE]

One query against 10 to 10,000 classes in onnxruntime on the CPU, float32, 2 threads: median and best of many runs
after warm-up, and the memory that a run takes beside its inputs (18 KB a class) at its peak; each size in a process
of its own. Then the real TensorRT for RTX, where it is installed: seconds to build an engine for 1 to 8 queries and
1 to 10,000 classes, and its size. No GPU is needed for that and none is used.

Prototypes and text are normalised when the gallery changes, not in each answer (`Encoder.prepare_classes`). Predicted
before it was measured, for OTAM on 2 cores of an AMD EPYC: 1,000 classes 2 ms (3.7 ms with their lengths), 10,000
classes 18 ms (33 ms). Prototypes of 10,000 classes are 160 MB and are now read once, 5.5 ms at 30 GB/s; their lengths
took 15 ms. OTAM's 7 rows are some 40 small operators on 200,000 numbers each. Memory beside the inputs: about 4 KB a
class for OTAM's cells, so linear in the classes. Prototypes in half precision were not tried on: onnxruntime has no
half products on x86, so it would write a float32 copy of them in each answer.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parse, parser, run
from maclip_runtime.bundle.manifest import GraphSpec
from maclip_runtime.engines.encoder import UNIT
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.child import Pipe, run_alone
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.memory import peak_resident_mib
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.turns import repeat

FRAMES, WIDTH = 8, 512  # ViT-B
THREADS = 2
MIN_RUNS = 15
METRICS = "otam,bimhm,trx"
# TRX projects each frame of each class: 10,000 classes would take gigabytes and many seconds.
MAX_CLASSES = {"trx": 1_000, "trx-triples": 1_000}


@dataclass(frozen=True)
class Size:
    """How much is measured: numbers of classes, seconds of runs for each of them, and an engine's sizes."""

    classes: tuple[int, ...] = (10, 100, 1_000, 10_000)
    seconds: float = 4.0
    profile: str = "B=1:1:8 C=1:1000:10000"


SMALLEST = Size((10, 1_000), 0.1, "B=1:1:1 C=1:10:10")


@dataclass(frozen=True)
class Timing:
    """One query against `classes`: milliseconds of a run, and bytes a class at its peak beside the inputs.

    `read_ms`: the best time of summing the prototypes, which is reading them once, between the same runs.
    """

    classes: int
    median_ms: float
    best_ms: float
    read_ms: float
    runs: int
    bytes_a_class: float


@dataclass(frozen=True)
class Engine:
    """An engine of the real library for `profile`; most of its bytes are the prototype module's weights."""

    library: str
    profile: str
    build_seconds: float
    bytes: int


@dataclass(frozen=True)
class Measured:
    """What one metric's match.onnx came to; `file_bytes` without weights, `weight_bytes` the file beside it."""

    metric: str
    nodes: int
    file_bytes: int
    weight_bytes: int
    timings: tuple[Timing, ...]
    engine: Engine | None


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument("--metrics", default=METRICS, help=f"comma-separated; {METRICS} by default")
    chosen = parse(options)
    machine = machine_facts()
    size = SMALLEST if chosen.smallest else Size()
    metrics = chosen.metrics.split(",")[: 1 if chosen.smallest else None]
    measured = [measure(metric, size) for metric in metrics]
    show(measured, size)
    if chosen.json:
        sizes = {"threads": THREADS, "frames": FRAMES, "width": WIDTH}
        write_json(chosen.json, {"machine": machine, **sizes, "results": [asdict(each) for each in measured]})


def measure(metric: str, size: Size) -> Measured:
    """Export one metric's match graph and measure it."""
    from benchmarks.small_model import small_model  # here, so that the children that measure never see torch
    from maclip_export.graphs import graphs_of
    from maclip_export.onnx.census import census
    from maclip_export.onnx.writer import write_onnx

    # Matching never uses the image tower, so there is next to none.
    model = small_model("ViT-B's joint space", feature_width=WIDTH, frames=FRAMES, adapters="none", metric=metric)
    graph = graphs_of(model)[-1]
    with tempfile.TemporaryDirectory() as folder:
        path, *weights = write_onnx(graph, Path(folder))
        spec = GraphSpec(path.name, graph.inputs, graph.outputs, census(path))
        counts = [count for count in size.classes if count <= MAX_CLASSES.get(metric, count)]
        return Measured(
            metric,
            spec.census.nodes,
            path.stat().st_size,
            sum(file.stat().st_size for file in weights),
            tuple(Timing(count, **run_alone(time_classes, path, count, size.seconds)) for count in counts),
            _engine(spec, path, size.profile),
        )


def time_classes(pipe: Pipe, path: Path, classes: int, seconds: float) -> dict[str, float]:
    """One query against `classes`, in a fresh process, whose peak memory is its own: fields of `Timing`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_inputs()]
    session.run(None, _inputs(names, 1))
    inputs = _inputs(names, classes)
    before = peak_resident_mib()
    session.run(None, inputs)
    after = peak_resident_mib()
    if before is None or after is None:
        raise MaclipError("bench-failed", "This system reports no peak memory.", "Measure on Linux or macOS.")
    took = repeat(lambda: session.run(None, inputs), seconds, min_runs=MIN_RUNS)
    # Not in turns: for a while after a run the threads of one session keep the cores from those of the other.
    reader = onnxruntime.InferenceSession(_sum_of_prototypes(), options, providers=["CPUExecutionProvider"])
    reads = repeat(lambda: reader.run(None, {"prototypes": inputs[names[1]]}), seconds / 4, min_runs=MIN_RUNS)
    return {
        "median_ms": statistics.median(took) * 1e3,
        "best_ms": min(took) * 1e3,
        "read_ms": min(reads) * 1e3,
        "runs": len(took),
        "bytes_a_class": (after - before) * 2**20 / classes,
    }


def show(measured: list[Measured], size: Size) -> None:
    """A table of the times, and one of the graphs."""
    times = [
        (each.metric, f"{t.classes:,}", *(f"{ms:.2f}" for ms in (t.median_ms, t.best_ms, t.read_ms)), str(t.runs),
         f"{t.bytes_a_class / 1e3:.0f}")
        for each in measured
        for t in each.timings
    ]  # fmt: skip
    graphs = [
        (each.metric, str(each.nodes), f"{each.file_bytes / 1e3:.0f}", f"{each.weight_bytes / 1e6:.1f}",
         *((f"{each.engine.build_seconds:.1f}", f"{each.engine.bytes / 1e6:.1f}") if each.engine else ("-", "-")))
        for each in measured
    ]  # fmt: skip
    console = results_console()
    title = f"1 query, {FRAMES} frames, width {WIDTH}, float32, onnxruntime on the CPU"
    columns = ("metric", "classes", "median ms", "best ms", "read once ms", "runs", "KB a class")
    console.print(table(title, columns, times))
    headings = ("metric", "nodes", "graph KB", "weights MB", "build s", "engine MB")
    console.print(table(f"the graphs, and their TensorRT engines for {size.profile}", headings, graphs))


def _inputs(names: list[str], classes: int) -> dict[str, np.ndarray[Any, Any]]:
    """Of a match graph, by the names of its inputs; those that say so have length 1."""
    rng = np.random.default_rng(classes)
    arrays = [
        rng.standard_normal((1, FRAMES, WIDTH), dtype=np.float32),
        rng.standard_normal((classes, FRAMES, WIDTH), dtype=np.float32),
        rng.standard_normal((classes, WIDTH), dtype=np.float32),
        np.ones(classes, dtype=bool),
    ]
    inputs = dict(zip(names, arrays, strict=True))
    for name, x in inputs.items():
        if name.startswith(UNIT):  # in place: a copy would raise the peak that a run's memory is measured from
            x /= np.sqrt(np.einsum("...d,...d->...", x, x))[..., None]
    return inputs


def _sum_of_prototypes() -> bytes:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["prototypes", "axis"], ["sums"], keepdims=0)],
        "read",
        [helper.make_tensor_value_info("prototypes", TensorProto.FLOAT, ["C", FRAMES, WIDTH])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["C", FRAMES])],
        [onnx.numpy_helper.from_array(np.array([-1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def _engine(spec: GraphSpec, path: Path, profile: str) -> Engine | None:
    """Built by the real library; None where it is not installed."""
    from maclip_runtime.engines.tensorrt.builder import build_engine
    from maclip_runtime.engines.tensorrt.library import find_library
    from maclip_runtime.engines.tensorrt.profile import Profile

    try:
        library = find_library("rtx")
    except MaclipError:
        return None
    begun = time.perf_counter()
    engine = build_engine(library, path, spec, Profile.parse(profile))
    return Engine(f"{library.name} {library.version}", profile, time.perf_counter() - begun, engine.nbytes)


if __name__ == "__main__":
    run(main)
