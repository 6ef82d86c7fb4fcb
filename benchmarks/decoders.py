"""What a random view of a clip costs in training: decoded by PyAV, by decord, or from the frame cache.

    python benchmarks/decoders.py CLIP... [--runs 5] [--json FILE]

Each CLIP is a video, or a folder of which every video is taken. A view is 8 frames, resized to 256 px and cropped to
224, one thread. The cache has been filled before. "decord" also says whether decord read the clip at all, or whether
PyAV had to, because it would have brought other frames (maclip/decoding.py); looking for that is in its time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from maclip.data.clip_reader import ClipReader
from maclip.data.dataset import VIDEO_SUFFIXES
from maclip.data.decoding import _probe, decoder_version
from maclip.data.disk_cache import ClipCache
from maclip_runtime.reading.frames import Preprocess

PREPROCESS = Preprocess.for_size(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
FRAMES = 8


def main() -> None:
    """Print a row for each clip, and their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = [path for clip in args.clips for path in (sorted(clip.rglob("*")) if clip.is_dir() else [clip])]
    rows = [measure(path, args.runs) for path in found if path.suffix.lower() in VIDEO_SUFFIXES]
    print(f"{decoder_version('pyav')}, {decoder_version('decord')}; ms a view, the best of {args.runs}")
    for row in rows:
        reader = "decord" if row["read_by_decord"] else "PyAV"
        print(f"{row['clip'][:40]:40} {row['frames']:5} frames", *_times(row), f"(read by {reader})")
    mean = {name: float(np.mean([row[name] for row in rows])) for name in ("pyav", "decord", "cache")}
    print(f"{'mean':40} {'':12}", *_times(mean))
    if args.json:
        args.json.write_text(json.dumps({"clips": rows, "mean": mean}, indent=2) + "\n", encoding="utf-8")


def measure(path: Path, runs: int) -> dict[str, Any]:
    """The three times of one clip in ms, its number of frames, and whether decord was let at it."""
    with tempfile.TemporaryDirectory() as folder:
        readers = {
            "pyav": ClipReader(PREPROCESS, FRAMES),
            "decord": ClipReader(PREPROCESS, FRAMES, "decord"),
            "cache": ClipReader(PREPROCESS, FRAMES, cache=ClipCache(Path(folder))),
        }
        times: dict[str, list[float]] = {name: [] for name in readers}
        readers["cache"].random(path, np.random.default_rng(0))
        for run in range(runs):  # in turn: the machine's other work meets all alike
            for name, reader in readers.items():
                rng = np.random.default_rng(run)
                began = time.perf_counter()
                reader.random(path, rng)
                times[name].append(1e3 * (time.perf_counter() - began))
    total = readers["pyav"].read(path, lambda total: np.zeros(1, np.int64)).total
    row = {"clip": path.name, "frames": total, "read_by_decord": _probe(path).use_decord}
    return {**row, **{name: min(values) for name, values in times.items()}}


def _times(row: dict[str, Any]) -> list[str]:
    return [f"{name} {row[name]:6.1f}" for name in ("pyav", "decord", "cache")]


if __name__ == "__main__":
    main()
