"""Reads mutated clips in a process of its own, so that a crash of FFmpeg is seen and its seed is known.

    python hostile_reader.py WORK BUNDLE FIRST LAST CLIP...

writes one line a seed: the seed and "begun", then the seed and what became of it ("read" or an error's code). Anything
but a `MaclipError` ends the process, and so does a clip that takes longer than `HANG_S`.
"""

from __future__ import annotations

import faulthandler
import sys
from functools import partial
from pathlib import Path

import numpy as np

from maclip_runtime import MaclipError, Recognizer, open_source, read_clip
from maclip_runtime.reading.frames import Pixels, Preprocess, prepare, segment_indices

HANG_S = 30.0  # of one clip, on a busy machine
MAX_FRAMES = 12  # taken from a source before the next mutation
WHOLE_EVERY = 5  # each fifth goes through enrolment and recognition as well
HEADER = 4096  # bytes: where a container says what it holds
SMALL = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def mutate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`data` as a bad disk, a bad line or a bad person might leave it."""
    kind = rng.integers(0, 7)
    at, length = int(rng.integers(0, len(data))), int(rng.integers(1, max(2, len(data) // 4)))
    if kind == 0:
        return data[:at]
    changed = bytearray(data)
    if kind in (1, 2):  # bits anywhere, or where it says what it is
        span = len(data) if kind == 1 else min(HEADER, len(data))
        for place in rng.integers(0, span, size=int(rng.integers(1, 64))):
            changed[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == 3:
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    elif kind == 4:
        changed[at : at + length] = rng.bytes(length)
    elif kind == 5:
        changed[at : at + length] = other[at : at + length]
    else:
        del changed[at : at + length]
    return bytes(changed)


def read(path: Path) -> None:
    """All that enrolment and a stream do with a file before the network sees it."""
    read_clip(path, partial(segment_indices, frames=4), partial(prepare, preprocess=SMALL))
    with open_source(path) as source:
        for frame in source:
            _check(frame.pixels, frame.time_s)
            if frame.index >= MAX_FRAMES:
                return


def recognise(recognizer: Recognizer, path: Path, seed: int) -> None:
    """Through the whole runtime, as a user's command would."""
    recognizer.enroll(f"class {seed}", path, no_text=True, force=True)
    recognizer.classify(path)
    for event in recognizer.watch(path, window_s=1.0, hop_s=1.0):
        assert np.isfinite([event.start_s, event.end_s]).all()


def _check(pixels: Pixels, time_s: float) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert np.isfinite(time_s)
    assert time_s >= 0


def main() -> None:
    work, bundle, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    clips = [Path(name) for name in sys.argv[5:]]
    with Recognizer.open(bundle, work / "gallery.db", device="cpu") as recognizer:
        for seed in range(first, last):
            print(seed, "begun", flush=True)
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            rng = np.random.default_rng(seed)
            clip, other = clips[seed % len(clips)], clips[int(rng.integers(0, len(clips)))]
            path = work / f"mutated{clip.suffix}"
            path.write_bytes(mutate(clip.read_bytes(), other.read_bytes(), rng))
            try:
                read(path)
                if seed % WHOLE_EVERY == 0:
                    recognise(recognizer, path, seed)
                print(seed, "read", flush=True)
            except MaclipError as error:
                print(seed, error.code, flush=True)
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
