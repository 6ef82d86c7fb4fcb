"""The last minute of each source as JPEGs: for the live picture, for windows that are reviewed, and for recordings."""

from __future__ import annotations

import logging
import math
import queue
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.evidence.shots import Still, encode
from maclip_runtime.reading.frames import Floats, Pixels
from maclip_runtime.reading.quality import MIN_MOTION
from maclip_runtime.sources import Frame

log = logging.getLogger("maclip")

RATE = 12.0  # frames a second
SIDE = 640  # px of the longer side
SECONDS = 60.0  # that are kept
MAX_WAITING = 8  # frames, for the encoder; a frame of 1920 x 1080 is 6 MB
CELLS = (16, 12)


@dataclass(frozen=True)
class Picture(Still):
    """A frame of a film: its place in it, when it was taken (Unix), and its mean grey levels in 16 x 12 cells."""

    number: int = 0
    at: float = 0.0
    cells: Floats = field(default_factory=lambda: np.zeros(0, np.float32), repr=False, compare=False)


class Film(Callbacks):
    """Keeps the last minute of each source. Any thread may ask for pictures.

    Pictures show the whole frame, also where a region of it is looked at. Where the encoder is busy a frame is left
    out; recognition never waits.
    """

    def __init__(self, clock: Callable[[], float], *, rate: float = RATE, seconds: float = SECONDS) -> None:
        self._clock = clock
        self._rate = rate
        self._seconds = seconds
        self._due_s: dict[str, float] = {}
        self._reels: dict[str, deque[Picture]] = {}
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._waiting: queue.Queue[_Item | Callable[[], None] | None] = queue.Queue(2 * MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="film", daemon=True)
        self._thread.start()

    def frame(self, source: str, frame: Frame) -> None:
        """Queue a frame, a few of them a second."""
        step_s, due_s = 1 / self._rate, self._due_s.get(source, -math.inf)
        if due_s - step_s <= frame.time_s < due_s - 1e-6 and not frame.restarted:
            return
        if self._waiting.qsize() >= MAX_WAITING:
            return
        self._due_s[source] = (due_s if abs(frame.time_s - due_s) < step_s else frame.time_s) + step_s
        pixels = (frame.whole or frame).pixels  # converted here: FFmpeg is not thread-safe
        self._waiting.put(_Item(source, frame.time_s, self._clock(), frame.restarted, pixels))

    def then(self, call: Callable[[], None]) -> None:
        """Call this once the frames so far are in the film, in its own thread; not at all where it is too busy."""
        with suppress(queue.Full):
            self._waiting.put_nowait(call)

    def newest(self, source: str) -> Picture | None:
        """The last picture of a source."""
        with self._lock:
            reel = self._reels.get(source)
            return reel[-1] if reel else None

    def between(self, source: str, start_s: float, end_s: float) -> list[Picture]:
        """The pictures from `start_s` to `end_s` of a source's time."""
        with self._lock:
            reel = list(self._reels.get(source, ()))
        return reel[bisect_left(reel, start_s, key=_time) : bisect_right(reel, end_s, key=_time)]

    def since(self, source: str, at: float) -> list[Picture]:
        """The pictures since the Unix time `at`."""
        with self._lock:
            return [one for one in self._reels.get(source, ()) if one.at >= at]

    def close(self) -> None:
        """Stop encoding."""
        self._waiting.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            try:
                if isinstance(item, _Item):
                    self._take(item)
                else:
                    item()
            except Exception:
                log.exception("a picture could not be kept")

    def _take(self, item: _Item) -> None:
        jpeg, cells = encode(item.pixels, SIDE), grey_cells(item.pixels)
        with self._lock:
            reel = self._reels.setdefault(item.source, deque())
            if item.restarted or (reel and item.time_s < reel[-1].time_s):
                reel.clear()
            number = self._numbers[item.source] = self._numbers.get(item.source, 0) + 1
            reel.append(Picture(item.time_s, jpeg, number, item.at, cells))
            while reel[0].time_s < item.time_s - self._seconds:
                reel.popleft()


class _Item(NamedTuple):
    """A frame that is to be encoded."""

    source: str
    time_s: float
    at: float
    restarted: bool
    pixels: Pixels


def is_still(pictures: list[Picture]) -> bool:
    """Whether nothing moves in these pictures, by the bound at which enrolment refuses a clip."""
    if len(pictures) < 2:
        return True
    return float(np.abs(np.diff(np.stack([one.cells for one in pictures]), axis=0)).max()) < MIN_MOTION


def grey_cells(pixels: Pixels) -> Floats:
    """Mean grey levels of uint8 [H, W, 3] in 16 x 12 cells: float32 [12, 16]."""
    from PIL import Image

    small = Image.fromarray(pixels).convert("L").resize(CELLS, Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def _time(picture: Picture) -> float:
    return picture.time_s
