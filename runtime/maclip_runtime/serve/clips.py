"""New clips as the network sees them: T frames of a film or an upload, within the source's region."""

from __future__ import annotations

import secrets
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence.shots import Still, decode
from maclip_runtime.reading import quality
from maclip_runtime.reading.frames import Pixels, prepare
from maclip_runtime.reading.quality import Reason
from maclip_runtime.reading.take import Take
from maclip_runtime.sources import Roi

MAX_TAKES = 24  # that wait for a name
TAKE_SECONDS = 3600.0  # after which a take is forgotten


@dataclass(frozen=True)
class NewClip:
    """A clip that is not enrolled yet.

    id: for the page.
    source: where it comes from, for the gallery.
    stills: its frames.
    duration_s: how long it lasts.
    region: the part of the pictures that counts; None for all.
    frames: uint8 [T, size, size, 3], as the network sees them.
    figures, reasons: its quality, and why it should not be enrolled.
    answer: what the gallery said when it was made.
    """

    id: str
    source: str
    stills: Sequence[Still]
    duration_s: float
    region: Roi | None
    frames: Pixels = field(repr=False)
    figures: dict[str, float]
    reasons: tuple[Reason, ...]
    made_at: float = field(default_factory=time.time)

    @classmethod
    def of(
        cls, source: str, stills: Sequence[Still], duration_s: float, region: Roi | None, manifest: Manifest
    ) -> NewClip:
        """A clip of these frames. Raises `clip-too-short`."""
        frames = prepared(stills, region, manifest, source)
        figures = quality.figures(frames)
        reasons = tuple(quality.faults(figures, duration_s))
        return cls(secrets.token_hex(8), source, stills, duration_s, region, frames, figures, reasons)

    @property
    def take(self) -> Take:
        """For the enroller."""
        return Take(self.frames, self.duration_s, self.source, prepared=True)

    def facts(self) -> dict[str, Any]:
        """For the page, as plain values."""
        return {
            "id": self.id,
            "source": self.source,
            "duration_s": round(self.duration_s, 2),
            "frames": len(self.stills),
            "figures": self.figures,
            "reasons": [{"code": one.code, "words": one.words} for one in self.reasons],
        }


def min_pictures(manifest: Manifest) -> int:
    """How many frames a clip must have; those of a slow camera repeat."""
    return max(2, manifest.frames // 2)


def prepared(stills: Sequence[Still], region: Roi | None, manifest: Manifest, source: str) -> Pixels:
    """T frames as the network sees them: uint8 [T, size, size, 3]. Raises `clip-too-short`.

    The clip is cut into T equal segments, and the frame that is shown at the centre of each is taken, as of a stream:
    a slow camera's frames repeat, but there must be half as many as are taken.
    """
    count = manifest.frames
    if len(stills) < min_pictures(manifest):
        raise MaclipError(
            "clip-too-short",
            f"{source} has {len(stills)} frames; at least {min_pictures(manifest)} are needed.",
            "Record for longer, or give a longer clip of the action.",
        )
    times = [still.time_s for still in stills]
    step_s = (times[-1] - times[0]) / (len(stills) - 1)
    length_s = times[-1] - times[0] + step_s
    centres = [times[0] + (place + 0.5) * length_s / count for place in range(count)]
    chosen = [stills[max(0, bisect_right(times, centre + 1e-6) - 1)] for centre in centres]
    pixels = [decode(still.jpeg) for still in chosen]
    return np.stack([prepare(one if region is None else region.view(one), manifest.preprocess) for one in pixels])


class NewClips:
    """The clips that wait for a name. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clips: OrderedDict[str, NewClip] = OrderedDict()

    def add(self, clip: NewClip) -> NewClip:
        """Keep a clip; the oldest goes where there are too many."""
        with self._lock:
            self._clips[clip.id] = clip
            while len(self._clips) > MAX_TAKES or next(iter(self._clips.values())).made_at < time.time() - TAKE_SECONDS:
                self._clips.popitem(last=False)
        return clip

    def get(self, clip_id: str) -> NewClip:
        """The clip of this id. Raises `clip-unknown`."""
        with self._lock:
            found = self._clips.get(clip_id)
        if found is None:
            raise MaclipError("clip-unknown", "This recording is not kept any more.", "Record it again.")
        return found

    def drop(self, clip_id: str) -> None:
        """Forget a clip."""
        with self._lock:
            self._clips.pop(clip_id, None)
