"""What a random view of a clip costs in training: decoded by PyAV, by decord, or from the frame cache.

    python -m benchmarks.decoders CLIP... [--runs 5] [--smallest] [--json FILE]

Each CLIP is a video, or a folder of which every video is taken. A view is 8 frames, resized to 256 px and cropped to
224, in one thread. The cache is filled before. "decord" also says whether decord read the clip at all, or whether PyAV
had to, because decord would have brought other frames (maclip/data/decoding.py); that check is in its time.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parse, parser, run
from maclip.data.clip_reader import ClipReader
from maclip.data.decoding import _probe, decoder_version
from maclip.data.disk_cache import ClipCache
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import is_video
from maclip_runtime.reading.frames import Preprocess
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.turns import seconds_of

PREPROCESS = Preprocess.for_size(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
FRAMES = 8
READERS = ("pyav", "decord", "cache")


def main() -> None:
    """Print a row for each clip, and their mean."""
    options = parser(__doc__)
    options.add_argument("clips", nargs="+", type=Path)
    options.add_argument("--runs", type=int, default=5, help="views of each clip (default 5)")
    chosen = parse(options)
    machine = machine_facts()
    runs = 1 if chosen.smallest else chosen.runs
    found = [path for clip in chosen.clips for path in (sorted(clip.rglob("*")) if clip.is_dir() else [clip])]
    videos = [path for path in found if is_video(path)]
    if not videos:
        raise MaclipError("clip-unreadable", "There is no video to decode.", "Give videos or folders of them.")
    rows = [measure(path, runs) for path in videos[: 1 if chosen.smallest else None]]
    mean = {name: float(np.mean([row[name] for row in rows])) for name in READERS}
    show(rows, mean, runs)
    if chosen.json:
        write_json(chosen.json, {"machine": machine, "runs": runs, "clips": rows, "mean": mean})


def measure(path: Path, runs: int) -> dict[str, Any]:
    """The best time of each reader in ms, the clip's number of frames, and whether decord read it."""
    with tempfile.TemporaryDirectory() as folder:
        readers = {
            "pyav": ClipReader(PREPROCESS, FRAMES),
            "decord": ClipReader(PREPROCESS, FRAMES, "decord"),
            "cache": ClipReader(PREPROCESS, FRAMES, cache=ClipCache(Path(folder))),
        }
        readers["cache"].random(path, np.random.default_rng(0))
        times: dict[str, list[float]] = {name: [] for name in readers}
        for number in range(runs):  # in turn, as `take_turns` does, with the same view for all
            for name, reader in readers.items():
                view = partial(reader.random, path, np.random.default_rng(number))
                times[name].append(1e3 * seconds_of(view))
        total = readers["pyav"].read(path, lambda total: np.zeros(1, np.int64)).total
    row = {"clip": path.name, "frames": total, "read_by_decord": _probe(path).use_decord}
    return {**row, **{name: min(values) for name, values in times.items()}}


def show(rows: list[dict[str, Any]], mean: dict[str, float], runs: int) -> None:
    """A table of all clips."""
    title = f"ms a view, the best of {runs}; {decoder_version('pyav')}, {decoder_version('decord')}"
    lines = [
        (row["clip"], str(row["frames"]), *_times(row), "decord" if row["read_by_decord"] else "PyAV") for row in rows
    ]
    headings = ("clip", "frames", *READERS, "read by")
    results_console().print(table(title, headings, [*lines, ("mean", "", *_times(mean), "")]))


def _times(row: dict[str, Any]) -> list[str]:
    return [f"{row[name]:.1f}" for name in READERS]


if __name__ == "__main__":
    run(main)
