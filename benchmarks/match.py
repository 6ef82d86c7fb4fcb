"""Matching at scale: match.onnx of every metric at the sizes of ViT-B (8 frames, width 512), random weights.

    python -m benchmarks.match [--json FILE] [--metrics otam,bimhm,trx]

One query against 10 to 10,000 classes in onnxruntime on the CPU, float32, 2 threads: median and best of many runs
after warm-up, and the memory that a run takes beside its inputs (18 KB a class) at its peak; each size in a process
of its own. Then the real TensorRT for RTX, where it is installed: seconds to build an engine for 1 to 8 queries and
1 to 10,000 classes, and its size. No GPU is needed for that and none is used.

Predicted before it was measured, for OTAM: 1,000 classes 2.5 ms (9.7 ms before), 10,000 classes 32 ms (160 ms before).
Prototypes of 10,000 classes are 160 MB: they are read twice, once for the product and once for their lengths, and
reading alone took 5.5 ms (30 GB/s) on the machine the prediction was made for. OTAM's 7 rows are some 40 small
operators on 200,000 numbers each, below 3 ms. Memory beside the inputs: 16 KB a class for the squares of the
prototypes and about 4 KB for OTAM's cells, so linear in the classes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
FRAMES, WIDTH = 8, 512  # ViT-B
CLASSES = (10, 100, 1_000, 10_000)
THREADS = 2
SECONDS = 4.0  # of runs for each size
LEAST_RUNS = 15
METRICS = "otam,bimhm,trx"
# TRX projects each frame of each class: 10,000 classes would take gigabytes and many seconds.
MOST_CLASSES = {"trx": 1_000, "trx-triples": 1_000}
PROFILE = "B=1:1:8 C=1:1000:10000"


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--metrics", default=METRICS, help=f"comma-separated; {METRICS} by default")
    chosen = parser.parse_args()
    load_before = os.getloadavg()[0]  # other work on the machine makes all times longer
    measured = [measure(metric) for metric in chosen.metrics.split(",")]
    show(measured)
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        content = {**_circumstances(load_before), "results": [asdict(each) for each in measured]}
        chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measure(metric: str) -> Measured:
    """Export one metric's match graph and measure it."""
    import onnx

    from maclip_export.graphs import graphs_of
    from maclip_export.onnx.writer import write_onnx

    graph = graphs_of(_model(metric))[-1]
    with tempfile.TemporaryDirectory() as folder:
        path, *weights = write_onnx(graph, Path(folder))
        sizes = [n for n in CLASSES if n <= MOST_CLASSES.get(metric, n)]
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            timings = pool.starmap(time_classes, [(path, n) for n in sizes], chunksize=1)
        return Measured(
            metric,
            len(onnx.load(path, load_external_data=False).graph.node),
            path.stat().st_size,
            sum(file.stat().st_size for file in weights),
            tuple(timings),
            _engine(graph, path),
        )


def time_classes(path: Path, classes: int) -> Timing:
    """One query against `classes`. Peak memory is this process's own: run it in one of its own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    session.run(None, _inputs(1))
    inputs = _inputs(classes)
    before = _peak_bytes()
    session.run(None, inputs)
    grown = _peak_bytes() - before
    for _ in range(3):
        session.run(None, inputs)
    took = _times(lambda: session.run(None, inputs), SECONDS, LEAST_RUNS)
    # Not in turns: for a while after a run the threads of one session keep the cores from those of the other.
    reader = onnxruntime.InferenceSession(_sum_of_prototypes(), options, providers=["CPUExecutionProvider"])
    reads = _times(lambda: reader.run(None, {"prototypes": inputs["prototypes"]}), SECONDS / 4, LEAST_RUNS)
    return Timing(classes, statistics.median(took), min(took), min(reads), len(took), grown / classes)


def _times(work: Callable[[], object], seconds: float, least: int) -> list[float]:
    """Milliseconds of each run."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took) < least:
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) * 1e3)
    return took


def show(measured: list[Measured]) -> None:
    """A table of all figures."""
    from rich.console import Console
    from rich.table import Table

    times = Table(title="1 query, 8 frames, width 512, float32, onnxruntime on the CPU")
    graphs = Table(title="the graphs, and their engines for 1 to 8 queries and 1 to 10,000 classes")
    for heading in ("metric", "classes", "median ms", "best ms", "read once ms", "runs", "KB a class"):
        times.add_column(heading, justify="left" if heading == "metric" else "right")
    for heading in ("metric", "nodes", "graph KB", "weights MB", "build s", "engine MB"):
        graphs.add_column(heading, justify="left" if heading == "metric" else "right")
    for each in measured:
        for t in each.timings:
            figures = (f"{t.classes:,}", f"{t.median_ms:.2f}", f"{t.best_ms:.2f}", f"{t.read_ms:.2f}", str(t.runs))
            times.add_row(each.metric, *figures, f"{t.bytes_a_class / 1e3:.0f}")
        sizes = (str(each.nodes), f"{each.file_bytes / 1e3:.0f}", f"{each.weight_bytes / 1e6:.1f}")
        engine = each.engine
        built = (f"{engine.build_seconds:.1f}", f"{engine.bytes / 1e6:.1f}") if engine else ("not installed", "")
        graphs.add_row(each.metric, *sizes, *built)
    console = Console()
    console.print(times)
    console.print(graphs)


def _peak_bytes() -> int:
    """The most memory this process ever held. `getrusage` would count the parent's too."""
    rows = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:")) * 1024


def _model(metric: str) -> Any:
    """A model with ViT-B's joint space and next to no visual tower, which matching never uses."""
    import open_clip
    import torch

    from maclip.backbones.loading import LoadedBackbone
    from maclip.config import ModelConfig
    from maclip.model.maclip import MaClip
    from maclip_runtime.reading.frames import Preprocess

    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 32, "width": 64, "layers": 1, "head_width": 64}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 1, "layers": 1}
    clip = open_clip.CLIP(embed_dim=WIDTH, vision_cfg=vision, text_cfg=text).requires_grad_(False)
    preprocess = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    backbone = LoadedBackbone(clip, clip.encode_text, preprocess, "ViT-B's joint space", "none", "0" * 64)
    return MaClip(backbone, ModelConfig.of(frames=FRAMES, adapters="none", metric=metric)).eval()


def _inputs(classes: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(classes)
    return {
        "features": rng.standard_normal((1, FRAMES, WIDTH), dtype=np.float32),
        "prototypes": rng.standard_normal((classes, FRAMES, WIDTH), dtype=np.float32),
        "text": rng.standard_normal((classes, WIDTH), dtype=np.float32),
        "has_text": np.ones(classes, dtype=bool),
    }


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


def _engine(graph: Any, path: Path) -> Engine | None:
    from maclip_runtime.engines.tensorrt.builder import build_engine
    from maclip_runtime.engines.tensorrt.library import find_library
    from maclip_runtime.engines.tensorrt.profile import Profile
    from maclip_runtime.errors import MaclipError

    try:
        library = find_library("rtx")
    except MaclipError:
        return None
    begun = time.perf_counter()
    # All that is asked of the contract here are the names and shapes of inputs and outputs.
    engine = build_engine(library, path, graph, Profile.parse(PROFILE))
    return Engine(f"{library.name} {library.version}", PROFILE, time.perf_counter() - begun, engine.nbytes)


def _circumstances(load_before: float) -> dict[str, Any]:
    from maclip_export.bundle.provenance import versions
    from maclip_runtime.tools.measuring.machine import commit_of

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((row.split(":")[1].strip() for row in info.read_text().splitlines() if "model name" in row), cpu)
    return {
        "machine": {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform(), "load_before": load_before},
        "commit": commit_of(ROOT),
        "versions": versions(),
        "threads": THREADS,
        "frames": FRAMES,
        "width": WIDTH,
    }


if __name__ == "__main__":
    main()
