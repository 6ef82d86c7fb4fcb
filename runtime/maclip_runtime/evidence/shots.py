"""The last seconds of a source as JPEGs, and the shots that events cut out of them."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime.decisions import Event
from maclip_runtime.evidence.options import EvidenceOptions
from maclip_runtime.reading.frames import Pixels

LAG_SECONDS = 10.0  # an event is told after it began, by about a window
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Still:
    """One frame, at `time_s` of its source, as a JPEG."""

    time_s: float
    jpeg: bytes


@dataclass
class Shot:
    """The frames of one event.

    id: the event's.
    start_s: when the action began.
    stills: from the pre-roll on.
    until_s: when the last frame is due; None while the action goes on.
    """

    id: str
    start_s: float
    stills: list[Still] = field(default_factory=list)
    until_s: float | None = None


class Reel:
    """One source: its last frames, and the shots that are still being taken. For one thread."""

    def __init__(self, options: EvidenceOptions) -> None:
        self._options = options
        self._past: deque[Still] = deque()
        self._shots: dict[str, Shot] = {}

    def frame(self, pixels: Pixels, time_s: float, restarted: bool) -> Iterator[Shot]:
        """Take a frame; yields the shots that are complete now."""
        if restarted or (self._past and time_s < self._past[-1].time_s):
            yield from self.finish()
            self._past.clear()
        still = Still(time_s, encode(pixels, self._options.side))
        self._past.append(still)
        while self._past[0].time_s < time_s - self._options.pre_s - LAG_SECONDS:
            self._past.popleft()
        for shot in list(self._shots.values()):
            if shot.until_s is not None and time_s > shot.until_s:
                yield self._shots.pop(shot.id)
                continue
            shot.stills.append(still)
            if still.time_s - shot.stills[0].time_s >= self._options.max_s:
                yield self._shots.pop(shot.id)

    def event(self, event: Event) -> Iterator[Shot]:
        """Take an event; yields its shot if it is complete already."""
        if event.kind == "start":
            first_s = event.start_s - self._options.pre_s
            stills = [one for one in self._past if first_s <= one.time_s < first_s + self._options.max_s]
            self._shots[event.id] = Shot(event.id, event.start_s, stills)
        shot = self._shots.get(event.id)
        if event.kind == "end" and shot is not None:
            shot.until_s = event.end_s + self._options.post_s
            if self._past and self._past[-1].time_s >= shot.until_s:
                shot.stills = [one for one in shot.stills if one.time_s <= shot.until_s]
                yield self._shots.pop(shot.id)

    def ended(self) -> list[Shot]:
        """The shots of events that have ended: no frame is to be expected any more."""
        over = [shot for shot in self._shots.values() if shot.until_s is not None]
        return [self._shots.pop(shot.id) for shot in over]

    def finish(self) -> list[Shot]:
        """All shots that were being taken."""
        shots, self._shots = list(self._shots.values()), {}
        return shots


def encode(pixels: Pixels, side: int) -> bytes:
    """uint8 [H, W, 3] as a JPEG whose longer side is at most `side` px; both sides are even, as video needs them."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(width, height))
    size = (max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2)))
    picture = Image.fromarray(pixels)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def decode(jpeg: bytes, size: tuple[int, int] | None = None) -> Pixels:
    """The picture of `encode`, uint8 [H, W, 3]; `size`: (width, height) to resize to where it differs."""
    from PIL import Image

    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    if size is not None and picture.size != size:
        picture = picture.resize(size)
    return np.asarray(picture)
