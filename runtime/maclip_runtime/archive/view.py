"""All windows of a store that count as one table: those of videos that have not changed since, and match filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import numpy.typing as npt

from maclip_runtime import values
from maclip_runtime.archive.fragments import Fragment, Seconds, Settings
from maclip_runtime.archive.packing import Packing
from maclip_runtime.archive.store import Kept, Store
from maclip_runtime.archive.videos import Video
from maclip_runtime.reading.frames import Floats

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Filters:
    """Which videos are looked at. Raises `option-invalid`.

    Attributes:
        source: a part of the name, or a pattern with * and ?; None: all.
        since: Unix time in seconds; only videos that were last changed then or later. None: all.
    """

    source: str | None = None
    since: float | None = None

    def __post_init__(self) -> None:
        if self.source is not None:
            object.__setattr__(self, "source", values.text(self.source, "source"))
        if self.since is not None:
            object.__setattr__(self, "since", values.number(self.since, "since"))

    def take(self, video: Video) -> bool:
        """Whether a video is looked at."""
        if self.since is not None and video.modified < self.since:
            return False
        pattern = self.source
        return pattern is None or pattern in video.name or fnmatch(video.name, pattern)


@dataclass(frozen=True)
class Stored:
    """Some windows of a fragment. A process that it is sent to maps the fragment's file itself."""

    fragment: Fragment
    at: Rows | slice

    def means(self) -> tuple[npt.NDArray[np.int8], Floats]:
        """Their means, int8 [n, D'], and scales [n]."""
        arrays = self.fragment.arrays
        return arrays.mean[self.at], arrays.mean_scale[self.at]


def features_of(places: Sequence[tuple[Rows, Stored]], count: int, packing: Packing) -> Floats:
    """The query features, float32 [count, T, D'], of windows given with their places among the `count`."""
    found = np.empty((count, packing.frames, packing.width), np.float32)
    for here, stored in places:
        arrays, at = stored.fragment.arrays, stored.at
        found[here] = packing.unpack(arrays.slow[at], arrays.fast[at], arrays.scales[at])
    return found


class View:
    """N windows of a store as arrays; features stay on disk.

    Windows are ordered by their video's name and their number, those that do not count come last: the order in which
    they were written, which differs with several workers, changes nothing.

    Attributes:
        videos: what the store holds of each video that counts.
        video: int64 [N], the place of each window's video in `videos`; -1 for a window that does not count.
        number: int64 [N], each window's number in its video.
        times: float64 [N, 4]: start, end, and from when to when its answer stands.
    """

    def __init__(self, store: Store, settings: Settings, filters: Filters | None = None) -> None:
        filters = filters or Filters()
        self.settings = settings
        self._fragments = store.fragments
        self._packing = Packing(settings.frames, settings.width)
        current = [
            kept
            for digest, kept in store.videos.items()
            if store.is_current(digest) and filters.take(kept.record.video)
        ]
        self.videos: list[Kept] = sorted(current, key=lambda kept: kept.record.video.name)
        places = {kept.record.video.digest: place for place, kept in enumerate(self.videos)}
        self._starts = np.cumsum([0, *(len(one) for one in self._fragments)])
        video = _joined([_video_of(one, places) for one in self._fragments], np.int64)
        number = _joined([one.rows.number for one in self._fragments], np.int64)
        times: Seconds = np.concatenate([np.zeros((0, 4)), *(one.rows.times for one in self._fragments)])
        places_of = np.where(video < 0, len(self.videos), video)
        self._stored = np.lexsort((number, places_of))  # of each row
        self._row = np.argsort(self._stored)  # of each stored window
        self._places = places_of[self._stored]
        self.video, self.number, self.times = video[self._stored], number[self._stored], times[self._stored]

    def __len__(self) -> int:
        return len(self.video)

    @property
    def counted(self) -> int:
        """How many windows count."""
        return int((self.video >= 0).sum())

    def stored(self, rows: int) -> Iterator[tuple[Rows, Stored]]:
        """All windows as they lie on disk, at most `rows` at a time, each with its row."""
        for start, fragment in zip(self._starts[:-1].tolist(), self._fragments, strict=True):
            for at in range(0, len(fragment), rows):
                upto = min(at + rows, len(fragment))
                yield self._row[start + at : start + upto], Stored(fragment, slice(at, upto))

    def places_of(self, rows: Rows) -> list[tuple[Rows, Stored]]:
        """Where some windows lie: for each fragment with some of them their places in `rows`, and their own there."""
        at = self._stored[rows]
        of = np.searchsorted(self._starts, at, side="right") - 1
        found = []
        for number in np.unique(of).tolist():
            here = np.flatnonzero(of == number)
            found.append((here, Stored(self._fragments[number], at[here] - self._starts[number])))
        return found

    def features(self, rows: Rows) -> Floats:
        """The query features, float32 [n, T, D'], of some windows."""
        return features_of(self.places_of(rows), len(rows), self._packing)

    def rows_of(self, place: int) -> Rows:
        """The windows of a video by their numbers."""
        first, end = np.searchsorted(self._places, [place, place + 1])
        return np.arange(first, end)


def _video_of(fragment: Fragment, places: dict[str, int]) -> npt.NDArray[np.int64]:
    of_record = np.array([places.get(record.video.digest, -1) for record in fragment.records], np.int64)
    return of_record[fragment.rows.video] if len(fragment) else np.zeros(0, np.int64)


def _joined(parts: Sequence[npt.NDArray[np.generic]], dtype: type[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
