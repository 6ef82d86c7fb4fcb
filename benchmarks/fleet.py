"""Indexing with two workers of a Ray cluster on this machine against one process: time, and whether results are equal.

    python -m benchmarks.fleet [--bundle DIR] [--smallest] [--json FILE]

Drawn videos are indexed in turns by one process whose network has one thread, by one process with a thread for each
core, and by two workers with one thread each. Ray is started once; what that and the first share of each worker take
is given apart. Equal means: the same windows of the same videos, with the same bytes.

Predicted before it was measured: two workers 1.8 times one process with one thread, because nothing but decoding,
preparing and the network takes time, and all of it is done by the workers; the program that hands out shares takes a
few milliseconds a part of sixteen windows. Against one process with two threads 1.4 times: decoding and preparing
use one core there. The aim is 1.7 times on two cores.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from maclip_runtime.archive import Archive
from maclip_runtime.archive.store import Store
from maclip_runtime.archive.view import View
from maclip_runtime.fleet import HERE, Fleet, open_fleet
from maclip_runtime.tools.bench.drawn import draw_video
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

ONE, THREADS, WORKERS = "one process, one thread", "one process, a thread a core", "two workers of Ray"
PREDICTED = 1.8  # times as fast as `ONE`


@dataclass(frozen=True)
class Size:
    """How much is indexed, and how often."""

    videos: int = 8
    video_s: float = 30.0
    repeats: int = 3


SMALLEST = Size(videos=2, video_s=3.0, repeats=1)


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    add_bundle(options)
    chosen = parse(options)
    machine, size = machine_facts(), SMALLEST if chosen.smallest else Size()
    with tempfile.TemporaryDirectory() as scratch:
        facts = figures(Path(scratch), chosen.bundle, size)
    show(facts)
    if chosen.json:
        bundle = bundle_facts(chosen.bundle)
        write_json(chosen.json, {"machine": machine, "bundle": bundle, "size": asdict(size), **facts})


def figures(scratch: Path, bundle: Path, size: Size) -> dict[str, Any]:
    """Seconds of each way, and how they compare."""
    videos = [draw_video(scratch / f"{number}.mp4", size.video_s, number) for number in range(size.videos)]
    begun = time.perf_counter()
    with open_fleet("local") as fleet:
        index(scratch / "first", bundle, videos[:2], 1, fleet)
        start_s = time.perf_counter() - begun
        ways: dict[str, Callable[[Path], int]] = {
            ONE: lambda store: index(store, bundle, videos, 1, HERE),
            THREADS: lambda store: index(store, bundle, videos, None, HERE),
            WORKERS: lambda store: index(store, bundle, videos, 1, fleet),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        windows = 0
        for repeat in range(size.repeats):
            for number, (way, work) in enumerate(ways.items()):
                begun = time.perf_counter()
                windows = work(scratch / f"{repeat}-{number}")
                seconds[way].append(time.perf_counter() - begun)
    stores = [scratch / f"{size.repeats - 1}-{number}" for number in (0, 2)]
    rows: list[dict[str, Any]] = [
        {
            "way": way,
            "seconds": took,
            "median_s": statistics.median(took),
            "times": statistics.median(one / other for one, other in zip(seconds[ONE], took, strict=True)),
        }
        for way, took in seconds.items()
    ]
    return {
        "windows": windows,
        "ray_start_s": start_s,
        "equal": same(*stores),
        "predicted_times": PREDICTED,
        "rows": rows,
        "times_of_threads": rows[1]["median_s"] / rows[2]["median_s"],
    }


def index(store: Path, bundle: Path, videos: list[Path], threads: int | None, fleet: Fleet) -> int:
    """Index videos into a new store; returns how many windows."""
    with Archive.open(store, bundle, device="cpu", threads=threads) as archive:
        return archive.index(videos, window_s=1.0, fleet=fleet).windows


def same(a: Path, b: Path) -> bool:
    """Whether two stores hold the same windows with the same bytes."""
    one, other = view_of(a), view_of(b)
    rows = np.arange(len(one))
    return (
        len(one) == len(other)
        and np.array_equal(one.times, other.times)
        and np.array_equal(one.features(rows), other.features(rows))
    )


def view_of(path: Path) -> View:
    """All windows of a store."""
    store = Store(path)
    assert store.settings is not None
    return View(store, store.settings)


def show(facts: dict[str, Any]) -> None:
    """A table of the ways."""
    rows = [(one["way"], f"{one['median_s']:.2f}", f"{one['times']:.2f}") for one in facts["rows"]]
    rows.append((f"{WORKERS}, against {THREADS}", "", f"{facts['times_of_threads']:.2f}"))
    rows.append(("Ray's start and the first share of each worker", f"{facts['ray_start_s']:.2f}", ""))
    rows.append(("results are equal", "yes" if facts["equal"] else "no", ""))
    title = f"indexing {facts['windows']:,} windows"
    results_console().print(table(title, ("way", "seconds, median", "times as fast"), rows))


if __name__ == "__main__":
    run(main)
