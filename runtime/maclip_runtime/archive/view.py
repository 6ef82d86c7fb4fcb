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


class View:
    """N windows of a store as arrays, in the order in which they were written; features stay on disk.

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
        self.videos: list[Kept] = [
            kept
            for digest, kept in store.videos.items()
            if store.is_current(digest) and filters.take(kept.record.video)
        ]
        places = {kept.record.video.digest: place for place, kept in enumerate(self.videos)}
        self._starts = np.cumsum([0, *(len(one) for one in self._fragments)])
        self.video = _joined([_video_of(one, places) for one in self._fragments], np.int64)
        self.number = _joined([one.rows.number for one in self._fragments], np.int64)
        self.times: Seconds = np.concatenate([np.zeros((0, 4)), *(one.rows.times for one in self._fragments)])

    def __len__(self) -> int:
        return len(self.video)

    @property
    def counted(self) -> int:
        """How many windows count."""
        return int((self.video >= 0).sum())

    def means(self, rows: int) -> Iterator[tuple[int, npt.NDArray[np.int8], Floats]]:
        """The means of all windows, at most `rows` at a time: the first one's row, int8 [n, D'] and scales [n]."""
        for start, fragment in zip(self._starts[:-1].tolist(), self._fragments, strict=True):
            for at in range(0, len(fragment), rows):
                part = slice(at, at + rows)
                yield start + at, fragment.arrays.mean[part], fragment.arrays.mean_scale[part]

    def features(self, rows: Rows) -> Floats:
        """The query features, float32 [n, T, D'], of some windows."""
        found = np.empty((len(rows), self.settings.frames, self.settings.width), np.float32)
        of = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(of).tolist():
            here = np.flatnonzero(of == number)
            at, arrays = rows[here] - self._starts[number], self._fragments[number].arrays
            found[here] = self._packing.unpack(arrays.slow[at], arrays.fast[at], arrays.scales[at])
        return found

    def rows_of(self, place: int) -> Rows:
        """The windows of a video by their numbers."""
        rows = np.flatnonzero(self.video == place)
        return rows[np.argsort(self.number[rows], kind="stable")]


def _video_of(fragment: Fragment, places: dict[str, int]) -> npt.NDArray[np.int64]:
    of_record = np.array([places.get(record.video.digest, -1) for record in fragment.records], np.int64)
    return of_record[fragment.rows.video] if len(fragment) else np.zeros(0, np.int64)


def _joined(parts: Sequence[npt.NDArray[np.generic]], dtype: type[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
