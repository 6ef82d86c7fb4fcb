"""The windows of one video, computed: what a worker does of an indexing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from maclip_runtime.archive.fragments import Record
from maclip_runtime.archive.packing import Packed, Packing
from maclip_runtime.archive.videos import Video, look_at
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.matching.clips import read_take
from maclip_runtime.reading.frames import Floats, prepare
from maclip_runtime.sources import Frame, Source, SourceOptions, open_source
from maclip_runtime.streaming import Cutter, Grid, Window
from maclip_runtime.streaming.pipeline import MAX_ROWS, Network

STAGES = ("decode", "prepare", "network", "store")


@dataclass(frozen=True)
class ToIndex:
    """A video to index from `path`; `there` are the numbers of its windows that the store has."""

    path: str
    video: Video
    there: frozenset[int] = frozenset()


@dataclass(frozen=True)
class NumberedWindow:
    """A window's number in its video, its start and end, and from when to when its answer stands, in seconds."""

    number: int
    times: tuple[float, float, float, float]


@dataclass
class Computed:
    """Some windows of a video, or how it ended.

    Attributes:
        windows: which they are.
        packed: their features; None without windows.
        share: how much of the video has been seen, 0..1.
        record: what is known of the video once all its windows are computed; None before.
        failed: why the video cannot be indexed; nothing follows.
        seconds: of each stage since the last part.
    """

    windows: Sequence[NumberedWindow] = ()
    packed: Packed | None = None
    share: float = 0.0
    record: Record | None = None
    failed: MaclipError | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Computing:
    """A job whose shares are videos and whose parts are windows, `MAX_ROWS` at most, and how each video ended."""

    def __init__(self, encoder: Encoder, grid: Grid) -> None:
        self.encoder, self.grid = encoder, grid

    def parts(self, share: ToIndex, skip: int) -> Iterator[Computed]:
        """The windows that the store has not. A video that cannot be read ends with `failed`."""
        done = _OneVideo(self.encoder, self.grid, share)
        try:
            yield from done.parts(skip)
        except MaclipError as error:
            if not error.code.startswith(("clip-", "video-")):
                raise
            yield Computed(failed=error)


class _OneVideo:
    def __init__(self, encoder: Encoder, grid: Grid, share: ToIndex) -> None:
        self._encoder, self._grid, self._video = encoder, grid, share.video
        self._path, self._there = share.path, share.there
        manifest = encoder.bundle.manifest
        self._prepare = partial(prepare, preprocess=manifest.preprocess)
        self._network, self._packing = Network(encoder), Packing(manifest.frames, manifest.feature_width)
        self._lost: list[tuple[int, float]] = []
        self._share = 0.0
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def parts(self, skip: int) -> Iterator[Computed]:
        """See `Computing.parts`. Raises `video-changed` if the video changes meanwhile."""
        cutter = Cutter(self._grid, self._prepare)
        with open_source(self._path, SourceOptions()) as source:
            waiting: list[tuple[int, Window]] = []
            for place, one in enumerate(self._cut(source, cutter)):
                if place >= skip * MAX_ROWS:
                    waiting.append(one)
                if len(waiting) == MAX_ROWS:
                    yield self._windows(waiting)
                    waiting = []
            if waiting:
                yield self._windows(waiting)
        count = cutter.windows
        if not count:
            count = 1
            if 0 not in self._there and not skip:
                yield self._whole()
        if look_at(self._path).digest != self._video.digest:
            raise MaclipError(
                "video-changed",
                f"{self._video.name} changed while it was indexed.",
                "Index it again once nothing writes to it any more.",
            )
        yield self._computed(record=Record(self._video, count, cutter.end_s, tuple(self._lost)))

    def _cut(self, source: Source, cutter: Cutter) -> Iterator[tuple[int, Window]]:
        """The windows that the store has not, with their numbers."""
        number, length_s = 0, source.length_s
        frames = iter(source)
        while True:
            with self._timed("decode"):
                frame: Frame | None = next(frames, None)
            with self._timed("prepare"):
                step = cutter.finish() if frame is None else cutter.add(frame)
            if frame is not None and length_s:
                self._share = min(1.0, frame.time_s / length_s)
            if step.lost_s is not None:
                self._lost.append((number, step.lost_s))
            for window in step.windows:
                if number not in self._there:
                    yield number, window
                number += 1
            if frame is None:
                return

    def _windows(self, numbered: Sequence[tuple[int, Window]]) -> Computed:
        windows = [window for _, window in numbered]
        with self._timed("network"):
            self._network.run_stem([slot for window in windows for slot in window.slots])
            features = self._network.features(windows)
        kept = [NumberedWindow(number, (one.start_s, one.end_s, *one.covers_s)) for number, one in numbered]
        return self._packed(kept, features)

    def _whole(self) -> Computed:
        """A video shorter than a window, as one whole clip."""
        take = read_take(self._path, self._encoder.bundle.manifest)
        with self._timed("network"):
            features = self._encoder.features(take.frames[None])
        return self._packed([NumberedWindow(0, (0.0, take.duration_s, 0.0, take.duration_s))], features)

    def _packed(self, windows: Sequence[NumberedWindow], features: Floats) -> Computed:
        with self._timed("network"):
            compared = self._encoder.prototypes(features)
        with self._timed("store"):
            packed = self._packing.pack(features, compared)
        return self._computed(windows, packed)

    def _computed(
        self, windows: Sequence[NumberedWindow] = (), packed: Packed | None = None, record: Record | None = None
    ) -> Computed:
        seconds, self._seconds = self._seconds, dict.fromkeys(STAGES, 0.0)
        return Computed(windows, packed, self._share, record, seconds=seconds)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - begun
