"""Finding one action in 360,000 windows, 100 hours at one a second: time, recall, bytes; and what indexing costs.

    python -m benchmarks.archive [--store DIR] [--bundle DIR] [--smallest] [--json FILE]

The windows are drawn features of ViT-B's size (T = 8, D' = 512): half of them of one of 400 actions, each a constant
and a path over time, in one of 200 scenes, with slow and fast noise. They are compared by OTAM behind a TPCM with
random weights. The clips that are searched by show an action in a scene of their own. The exact ranking is that of the
float32 features, over all windows: OTAM is the same in both directions, so each clip is matched with all windows as
classes, which need TPCM once. `--store` keeps the drawn store for another measurement: TPCM takes 50 MFLOP a window. A
drawing that was killed goes on.

A search is that of `Archive.find` with the store in the page cache: it opens the store, makes the prototype and runs
both passes. Indexing is measured on a drawn video with `--bundle`, and for ViT-B/16 the time of storing is set against
the times of its graphs in results/device_vit_b16_int8.json.

Predicted before it was measured: 4,170 bytes a window and the fragments' headers; the coarse pass 0.25 s (184 MB of
means, converted and multiplied at 1 GB/s by each of two cores), 1,500 windows measured exactly at 50 MFLOP each 0.8 s,
1.3 s in all; recall of the first hundred 0.99: on windows of drawn video the hundred nearest were among the 300 with
the nearest means, and 0.4 % of them changed places with others by the rounding to 8 and 6 bits.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import add_bundle, parse, parser, run
from maclip_runtime.archive import Archive
from maclip_runtime.archive.fragments import Record, Rows, Settings
from maclip_runtime.archive.packing import Packing
from maclip_runtime.archive.search import KEPT, Searcher
from maclip_runtime.archive.store import Store, writing
from maclip_runtime.archive.videos import Video
from maclip_runtime.archive.view import View
from maclip_runtime.engines.encoder import UNIT, Encoder
from maclip_runtime.reading.frames import Floats
from maclip_runtime.tools.bench.drawn import draw_video
from maclip_runtime.tools.measuring.machine import ROOT, machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

FRAMES, THREADS = 8, 2
CONTRACT = "drawn"
WINDOW_S, HOP = 2.0, 4  # a window a second
VIT_B_16 = ROOT / "benchmarks" / "results" / "device_vit_b16_int8.json"
SEED = 20


@dataclass(frozen=True)
class Size:
    """How much is drawn and measured."""

    windows: int = 360_000
    width: int = 512
    fragment: int = 4096
    actions: int = 400
    clips: int = 8
    repeats: int = 3
    video_s: float = 60.0


SMALLEST = Size(windows=1_500, width=64, fragment=512, actions=20, clips=2, repeats=1, video_s=2.0)


class World:
    """Draws windows, float32 [n, T, D'], and the clips that show an action."""

    def __init__(self, size: Size) -> None:
        self._size = size
        rng, width = np.random.default_rng(SEED), size.width
        self._common = _unit(rng, 1, 1, width) * 6
        self._scenes = _unit(rng, 200, 1, width) * 4
        self._constants = _unit(rng, size.actions, 1, width) * 3
        self._paths = _path(rng, size.actions, width) * 3

    def windows(self, start: int, count: int) -> Floats:
        """Windows `start` to `start + count`; the same ones each time."""
        rng = np.random.default_rng((SEED, start))
        scene = (np.arange(start, start + count) // 1800) % len(self._scenes)
        action = rng.integers(0, 2 * len(self._constants), count)  # half of them none
        strength = np.where(action < len(self._constants), rng.uniform(0.3, 1.2, count), 0).astype(np.float32)
        return self._drawn(rng, action % len(self._constants), strength[:, None, None], self._scenes[scene])

    def clip(self, action: int) -> Floats:
        """A clip of an action, float32 [1, T, D']."""
        rng = np.random.default_rng((SEED, 10**9 + action))
        scene = _unit(rng, 1, 1, self._size.width) * 4
        return self._drawn(rng, np.array([action]), np.ones((1, 1, 1), np.float32), scene)

    def _drawn(self, rng: np.random.Generator, action: Any, strength: Any, scene: Any) -> Floats:
        count, width = len(action), self._size.width
        shown = (self._constants[action] + self._paths[action]) * strength
        fast = rng.standard_normal((count, FRAMES, width), np.float32) * np.float32(1.5 / np.sqrt(width))
        drawn: Floats = (self._common + scene + shown + _path(rng, count, width) * 2 + fast).astype(np.float32)
        return drawn


def _unit(rng: np.random.Generator, *shape: int) -> Any:
    drawn = rng.standard_normal(shape, np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def _path(rng: np.random.Generator, count: int, width: int) -> Any:
    """Paths over time [count, T, width] of mean 0 and length 1 a frame, in the mean."""
    path = rng.standard_normal((count, FRAMES, width), np.float32).cumsum(axis=1)
    path -= path.mean(axis=1, keepdims=True)
    return path / np.sqrt((path**2).sum(axis=-1).mean(axis=1))[:, None, None]


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument(
        "--store", type=Path, metavar="DIR", help="keep the drawn store here; default: a temporary one"
    )
    add_bundle(options)
    chosen = parse(options)
    machine, size = machine_facts(), SMALLEST if chosen.smallest else Size()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.store or Path(scratch)
        found = find_figures(folder, size)
        indexing = index_figures(Path(scratch), chosen.bundle, size, found["store_ms_a_window"])
    show(found, indexing)
    if chosen.json:
        write_json(chosen.json, {"machine": machine, "size": asdict(size), "find": found, "index": indexing})


def find_figures(folder: Path, size: Size) -> dict[str, Any]:
    """Draw what is missing of the store, and search it."""
    encoder = Graphs(folder, size.width)
    drawn = draw(folder, encoder, size)
    exact = np.concatenate([np.load(file) for file in sorted(folder.glob("exact-*.npy"))], axis=1)
    world = World(size)
    times: list[dict[str, float]] = []
    recalls, measured = [], []
    for repeat in range(size.repeats + 1):
        for action in range(size.clips):
            begun = time.perf_counter()
            store = Store(folder / "store")
            view = View(store, store.require(CONTRACT))
            opened = time.perf_counter()
            prototype = encoder.prototypes(world.clip(action))[0]
            query = time.perf_counter()
            ranking = Searcher(view, encoder, prototype).rank()
            took = {"open": opened - begun, "query": query - opened, **ranking.seconds}
            if repeat:
                times.append({**took, "all": time.perf_counter() - begun})
            else:  # the first read of the store
                truth = set(np.argsort(exact[action], kind="stable")[:KEPT].tolist())
                recalls.append(len(truth & set(ranking.rows[:KEPT].tolist())) / KEPT)
                measured.append(len(ranking.rows))
    return {
        "windows": len(view),
        "bytes_a_window": sum(file.stat().st_size for file in (folder / "store").glob("*.arrow")) / len(view),
        "seconds": {key: statistics.median(one[key] for one in times) for key in times[0]},
        "worst_seconds": max(one["all"] for one in times),
        "recall": statistics.mean(recalls),
        "worst_recall": min(recalls),
        "measured_exactly": statistics.mean(measured),
        "swapped_difference": swapped_difference(encoder, world),
        **drawn,
    }


class Graphs(Encoder):
    """The graphs of a model with ViT-B's joint space that a search needs: a TPCM with random weights, and OTAM."""

    def __init__(self, folder: Path, width: int) -> None:
        """Exports the graphs where `folder` has none."""
        import onnxruntime

        self.closed, self._turn, self._width = False, threading.RLock(), width
        if not (folder / "match.onnx").is_file():
            self._export(folder, width)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self._sessions = {
            name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, ["CPUExecutionProvider"])
            for name in ("prototype", "match")
        }

    def _run(self, graph: str, **inputs: Any) -> tuple[Any, ...]:
        return tuple(self._sessions[graph].run(None, inputs))

    @property
    def _takes_unit(self) -> bool:
        return any(one.name.startswith(UNIT) for one in self._sessions["match"].get_inputs())

    def _texts(self, batch: int, text: Floats | None) -> tuple[Floats, Any]:
        return np.zeros((batch, self._width), np.float32), np.zeros(batch, np.bool_)

    def _export(self, folder: Path, width: int) -> None:
        from benchmarks.small_model import small_model
        from maclip_export.graphs import graphs_of
        from maclip_export.onnx.writer import write_onnx

        model = small_model("ViT-B's joint space", feature_width=width, frames=FRAMES, adapters="none", metric="otam")
        folder.mkdir(parents=True, exist_ok=True)
        for graph in graphs_of(model)[-2:]:
            write_onnx(graph, folder)


def draw(folder: Path, encoder: Encoder, size: Size) -> dict[str, float]:
    """Write what is missing of the drawn store, and the exact distances; milliseconds a window of what was written."""
    world, packing = World(size), Packing(FRAMES, size.width)
    settings = Settings(CONTRACT, FRAMES, size.width, WINDOW_S, HOP)
    clips = np.concatenate([world.clip(action) for action in range(size.clips)])
    facts = folder / "drawn.json"
    ms: list[list[float]] = json.loads(facts.read_text()) if facts.is_file() else []
    with writing(str(folder / "store")) as store:
        for start in range(sum(map(len, store.fragments)), size.windows, size.fragment):
            count = min(size.fragment, size.windows - start)
            features = world.windows(start, count)
            begun = time.perf_counter()
            compared = np.concatenate([encoder.prototypes(features[at : at + 16]) for at in range(0, count, 16)])
            mean_s = time.perf_counter() - begun
            text, has_text = np.zeros((count, size.width), np.float32), np.zeros(count, np.bool_)
            distances = encoder.match(clips, compared, text, has_text).distances
            np.save(folder / f"exact-{start:08d}.npy", distances)
            begun = time.perf_counter()
            numbers = np.arange(start, start + count, dtype=np.int32)
            times = numbers[:, None] + np.array([0.0, WINDOW_S, 0.5, 1.5])
            rows = Rows(np.zeros(count, np.uint16), numbers, times)
            record = Record(Video("drawn.mp4", "/drawn.mp4", 1, 0.0, "drawn"))
            store.append(settings, [record], rows, packing.pack(features, compared))
            ms.append([mean_s / count * 1e3, (time.perf_counter() - begun) / count * 1e3])
            facts.write_text(json.dumps(ms))
    mean_ms, store_ms = np.median(ms, axis=0).tolist()
    return {"mean_ms_a_window": mean_ms, "store_ms_a_window": store_ms}


def swapped_difference(encoder: Encoder, world: World) -> float:
    """How much distances differ if windows are the queries, as in a search, and not the classes."""
    clip, windows = world.clip(0), world.windows(0, 64)
    text, has_text = np.zeros((64, clip.shape[-1]), np.float32), np.zeros(64, np.bool_)
    swapped = encoder.match(clip, encoder.prototypes(windows), text, has_text).distances[0]
    straight = encoder.match(windows, encoder.prototypes(clip), text[:1], has_text[:1]).distances[:, 0]
    return float(np.abs(swapped - straight).max())


def index_figures(scratch: Path, bundle: Path, size: Size, store_ms: float) -> dict[str, Any]:
    """What storing costs beside decoding and the network."""
    video = draw_video(scratch / "drawn.mp4", size.video_s, SEED)
    with Archive.open(scratch / "indexed", bundle, device="cpu") as archive:
        done = archive.index(video, window_s=1.0)
        backbone = archive.encoder.bundle.manifest.backbone.name
    stages = json.loads(VIT_B_16.read_text(encoding="utf-8"))["streaming"]["stages"]
    network_ms = stages["stem"]["p50"] + stages["tower"]["p50"]
    return {
        "bundle": backbone,
        "windows": done.windows,
        "ms_a_window": {stage: seconds / done.windows * 1e3 for stage, seconds in done.seconds.items()},
        "overhead": done.overhead,
        "vit_b_16_int8_network_ms": network_ms,
        "vit_b_16_int8_overhead": store_ms / network_ms,
    }


def show(found: dict[str, Any], indexing: dict[str, Any]) -> None:
    """A table of the search, and one of indexing."""
    console = results_console()
    seconds = found["seconds"]
    rows = [
        ("seconds, median", f"{seconds['all']:.2f}"),
        *((f"of which {stage}", f"{seconds[stage]:.2f}") for stage in ("open", "query", "coarse", "exact")),
        ("seconds, worst", f"{found['worst_seconds']:.2f}"),
        (f"recall of the first {KEPT}", f"{found['recall']:.3f}"),
        ("worst recall", f"{found['worst_recall']:.3f}"),
        ("windows measured exactly", f"{found['measured_exactly']:,.0f}"),
        ("bytes a window", f"{found['bytes_a_window']:,.0f}"),
    ]
    console.print(table(f"finding one action in {found['windows']:,} windows", ("figure", "value"), rows))
    stages = [(stage, f"{ms:.2f}") for stage, ms in indexing["ms_a_window"].items()]
    stages += [("storing beside the rest", f"{indexing['overhead']:.1%}")]
    stages += [("the same with ViT-B/16 int8", f"{indexing['vit_b_16_int8_overhead']:.2%}")]
    title = f"indexing with {indexing['bundle']}, {indexing['windows']} windows"
    console.print(table(title, ("stage", "ms a window"), stages))


if __name__ == "__main__":
    run(main)
