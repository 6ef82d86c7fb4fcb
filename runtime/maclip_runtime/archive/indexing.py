"""Indexing: windows of videos, cut as recognition cuts them, become rows of a store. What is there is skipped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from maclip_runtime.archive.fragments import Record, Rows, Settings
from maclip_runtime.archive.packing import Packed, Packing
from maclip_runtime.archive.store import Store
from maclip_runtime.archive.videos import Video, look_at
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.matching.clips import read_take
from maclip_runtime.reading.frames import Floats, prepare
from maclip_runtime.sources import Frame, Source, SourceOptions, open_source, redact
from maclip_runtime.streaming import Cutter, Grid, Window
from maclip_runtime.streaming.pipeline import MAX_ROWS, Network

STAGES = ("decode", "prepare", "network", "store")
FRAGMENT_WINDOWS = 4096  # at most, in a fragment
FRAGMENT_SECONDS = 120.0  # of work, after which a fragment is written: what a killed program loses at most

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Progress:
    """How far an indexing is: of which video of how many, and bytes of those that are not skipped."""

    video: str
    number: int
    videos: int
    bytes_done: float
    bytes_total: float
    windows: int


@dataclass
class Indexed:
    """What an indexing did.

    Attributes:
        windows: how many were added.
        videos: names of the videos that were indexed, or gone on with.
        there: names of those that were there already.
        copies: names of those whose content is there under another path, with that path.
        changed: names of those that had changed since they were indexed: indexed again.
        torn: names of fragments that were damaged; they are put aside, and their windows are done again.
        failed: names of videos that could not be read, each with the error.
        seconds: seconds of each stage: "decode", "prepare", "network", "store".
    """

    windows: int = 0
    videos: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    failed: dict[str, MaclipError] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @property
    def overhead(self) -> float:
        """Seconds of storing over those of decoding, preparing and the network."""
        return self.seconds["store"] / max(sum(self.seconds.values()) - self.seconds["store"], 1e-9)


ProgressCall = Callable[[Progress], None]


def index_videos(
    store: Store, encoder: Encoder, grid: Grid, paths: Sequence[str], progress: ProgressCall | None = None
) -> Indexed:
    """Add the windows of videos to a store within `writing`.

    A video that cannot be read is in `Indexed.failed`, and the others go on. Whatever ends it, what was computed is
    stored. Raises `output-unwritable`, `device-failed`, `recognizer-closed`, and what `progress` raises.
    """
    done = Indexed(torn=[file.name for file in store.torn])
    wanted: list[tuple[str, Video]] = []
    for path in paths:
        try:
            video = look_at(path)
        except MaclipError as error:
            _failed(done, redact(path), error)
        else:
            if _is_new(store, video, done) and video.digest not in {one.digest for _, one in wanted}:
                wanted.append((path, video))
    settings = Settings(
        encoder.bundle.manifest.contract, grid.frames, encoder.bundle.manifest.feature_width, grid.window_s, grid.hop
    )
    total = float(sum(video.size for _, video in wanted))
    before = 0.0
    with _Writer(store, settings, done) as writer:
        for number, (path, video) in enumerate(wanted, 1):

            def tell(share: float, *, video: Video = video, number: int = number, before: float = before) -> None:
                if progress:
                    at = before + share * video.size
                    progress(Progress(video.name, number, len(wanted), at, total, done.windows))

            try:
                _Indexing(store, encoder, grid, writer, done, tell).run(path, video)
            except MaclipError as error:
                if not error.code.startswith(("clip-", "video-")):
                    raise
                _failed(done, video.name, error)
            before += video.size
            tell(0.0, before=before)
    return done


def _is_new(store: Store, video: Video, done: Indexed) -> bool:
    """Whether there is anything to do for a video."""
    kept = store.find(video)
    if store.changed(video):
        log.warning("%s has changed since it was indexed: it is indexed again", video.name)
        done.changed.append(video.name)
        return True
    if kept is None or not kept.complete or not store.is_current(video.digest):
        return True
    copy = store.copy_of(video)
    if copy is not None:
        done.copies[video.name] = copy
    elif kept.record.video.path != video.path:
        return True  # moved: the store learns where it is now
    else:
        done.there.append(video.name)
    return False


def _failed(done: Indexed, name: str, error: MaclipError) -> None:
    log.warning("%s is left out: %s", name, error.message)
    done.failed[name] = error


class _Writer:
    """Gathers windows and writes them as fragments; on leaving, the rest."""

    def __init__(self, store: Store, settings: Settings, done: Indexed) -> None:
        self._store, self._settings, self._done = store, settings, done
        self._packing = Packing(settings.frames, settings.width)
        self._broken = False
        self._clear()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._broken:
            self.flush()

    def add(self, video: Video, windows: Sequence[tuple[int, Window]], features: Floats, compared: Floats) -> None:
        """Add windows of a video with their numbers, and write a fragment if there are enough."""
        self._place(Record(video))
        for number, window in windows:
            self._rows.append((self._places[video.digest], number, (window.start_s, window.end_s, *window.covers_s)))
        self._packed.append(self._packing.pack(features, compared))
        self._done.windows += len(windows)
        if len(self._rows) >= FRAGMENT_WINDOWS or time.monotonic() - self._begun >= FRAGMENT_SECONDS:
            self.flush()

    def say(self, record: Record) -> None:
        """Keep what is known of a video, with its windows or after them."""
        self._place(record)

    def flush(self) -> None:
        """Write what has been gathered. Raises `output-unwritable`."""
        if not self._records:
            return
        places, numbers, times = zip(*self._rows, strict=True) if self._rows else ((), (), ())
        rows = Rows(
            np.array(places, np.uint16), np.array(numbers, np.int32), np.array(times, np.float64).reshape(-1, 4)
        )  # fmt: skip
        packed = _joined(self._packed, self._packing)
        records = list(self._records.values())
        self._broken = True
        self._store.append(self._settings, records, rows, packed)
        self._broken = False
        self._clear()

    def _clear(self) -> None:
        self._records: dict[str, Record] = {}
        self._places: dict[str, int] = {}
        self._rows: list[tuple[int, int, tuple[float, float, float, float]]] = []
        self._packed: list[Packed] = []
        self._begun = time.monotonic()

    def _place(self, record: Record) -> None:
        digest = record.video.digest
        before = self._records.get(digest)
        if before is None or record.windows is not None or record.lost:
            self._records[digest] = record
        self._places.setdefault(digest, len(self._places))


def _joined(parts: Sequence[Packed], packing: Packing) -> Packed:
    none = np.zeros((0, packing.frames, packing.width), np.float32)
    every = [*parts] or [packing.pack(none, none)]
    fields = [[getattr(one, name) for one in every] for name in ("mean", "mean_scale", "slow", "fast", "scales")]
    return Packed(*(np.concatenate(one) for one in fields))


class _Indexing:
    """One video through the network into the writer."""

    def __init__(
        self, store: Store, encoder: Encoder, grid: Grid, writer: _Writer, done: Indexed, tell: Callable[[float], None]
    ) -> None:
        self._store, self._encoder, self._grid, self._writer = store, encoder, grid, writer
        self._done, self._tell = done, tell
        self._prepare = partial(prepare, preprocess=encoder.bundle.manifest.preprocess)
        self._network = Network(encoder)
        self._lost: list[tuple[int, float]] = []

    def run(self, path: str, video: Video) -> None:
        """Index what the store has not of a video. Raises `video-changed` if it changes meanwhile."""
        kept = self._store.find(video)
        if kept is not None and kept.complete:  # under another name or path
            self._writer.say(Record(video, kept.record.windows, kept.record.end_s, tuple(kept.lost.items())))
            self._done.videos.append(video.name)
            return
        there = kept.numbers if kept else set()
        cutter = Cutter(self._grid, self._prepare)
        with open_source(path, SourceOptions()) as source:
            waiting: list[tuple[int, Window]] = []
            for one in self._cut(source, cutter, there):
                waiting.append(one)
                if len(waiting) == MAX_ROWS:
                    self._keep(video, waiting)
                    waiting = []
            self._keep(video, waiting)
        count = cutter.windows
        if not count:
            count = 1
            if 0 not in there:
                self._keep_whole(path, video)
        if look_at(path).digest != video.digest:
            raise MaclipError(
                "video-changed",
                f"{video.name} changed while it was indexed.",
                "Index it again once nothing writes to it any more.",
            )
        self._writer.say(Record(video, count, cutter.end_s, tuple(self._lost)))
        self._done.videos.append(video.name)

    def _cut(self, source: Source, cutter: Cutter, there: set[int]) -> Iterator[tuple[int, Window]]:
        """The windows that are not `there`, with their numbers."""
        number, length_s = 0, source.length_s
        frames = iter(source)
        while True:
            with self._timed("decode"):
                frame: Frame | None = next(frames, None)
            with self._timed("prepare"):
                step = cutter.finish() if frame is None else cutter.add(frame)
            if step.lost_s is not None:
                self._lost.append((number, step.lost_s))
            for window in step.windows:
                if number not in there:
                    yield number, window
                number += 1
            if frame is None:
                return
            if step.slots:
                self._tell(min(1.0, frame.time_s / length_s) if length_s else 0.0)

    def _keep(self, video: Video, numbered: Sequence[tuple[int, Window]]) -> None:
        if not numbered:
            return
        windows = [window for _, window in numbered]
        with self._timed("network"):
            self._network.run_stem([slot for window in windows for slot in window.slots])
            features = self._network.features(windows)
            compared = self._encoder.prototypes(features)
        with self._timed("store"):
            self._writer.add(video, numbered, features, compared)

    def _keep_whole(self, path: str, video: Video) -> None:
        """A video shorter than a window, as one whole clip."""
        take = read_take(path, self._encoder.bundle.manifest)
        with self._timed("network"):
            features = self._encoder.features(take.frames[None])
            compared = self._encoder.prototypes(features)
        clip = Window((), 0.0, take.duration_s, (0.0, take.duration_s))
        with self._timed("store"):
            self._writer.add(video, [(0, clip)], features, compared)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._done.seconds[stage] += time.perf_counter() - begun
