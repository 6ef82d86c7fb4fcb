"""Indexing: windows of videos, cut as recognition cuts them, become rows of a store. What is there is skipped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime.archive.computing import STAGES, Computed, Computing, NumberedWindow, ToIndex
from maclip_runtime.archive.fragments import Record, Rows, Settings
from maclip_runtime.archive.packing import Packed, Packing
from maclip_runtime.archive.store import Store
from maclip_runtime.archive.videos import Video, look_at
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet
from maclip_runtime.sources import absolute, redact
from maclip_runtime.streaming import Grid

FRAGMENT_WINDOWS = 4096  # at most, in a fragment
FRAGMENT_SECONDS = 120.0  # of work, after which a fragment is written: what a killed program loses at most

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Progress:
    """How far an indexing is: of which video of how many windows arrived, and bytes of those that are not skipped."""

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
    store: Store,
    encoder: Encoder,
    grid: Grid,
    paths: Sequence[str],
    progress: ProgressCall | None = None,
    fleet: Fleet = HERE,
) -> Indexed:
    """Add the windows of videos to a store within `writing`; the workers of `fleet` compute them, a video at a time.

    A video that cannot be read is in `Indexed.failed`, and the others go on. Whatever ends it, what was computed is
    stored. Raises `output-unwritable`, `device-failed`, `recognizer-closed`, and what `fleet` and `progress` raise.
    """
    done = Indexed(torn=[file.name for file in store.torn])
    wanted: dict[str, ToIndex] = {}  # by digest
    known: dict[str, Record] = {}
    for path in paths:
        try:
            video = look_at(path)
        except MaclipError as error:
            _failed(done, redact(path), error)
            continue
        kept = store.find(video)
        if not _is_new(store, video, done) or video.digest in wanted or video.digest in known:
            continue
        if kept is not None and kept.complete:  # under another name or path
            known[video.digest] = Record(video, kept.record.windows, kept.record.end_s, tuple(kept.lost.items()))
            done.videos.append(video.name)
        else:
            # A worker is in another folder.
            wanted[video.digest] = ToIndex(absolute(path), video, frozenset(kept.numbers if kept else ()))
    settings = Settings(
        encoder.bundle.manifest.contract, grid.frames, encoder.bundle.manifest.feature_width, grid.window_s, grid.hop
    )
    shares = list(wanted.values())
    with _Writer(store, settings, done) as writer:
        for record in known.values():
            writer.say(record)
        meter = _Meter(shares, done, progress)
        with closing(fleet.spread(Computing(encoder, grid), shares)) as parts:
            for place, part in parts:
                if part is None:
                    continue
                _take(part, shares[place].video, writer, done)
                meter.tell(place, part)
    return done


def _take(part: Computed, video: Video, writer: _Writer, done: Indexed) -> None:
    for stage, seconds in part.seconds.items():
        done.seconds[stage] += seconds
    if part.packed is not None:
        begun = time.perf_counter()
        writer.add(video, part.windows, part.packed)
        done.seconds["store"] += time.perf_counter() - begun
    if part.failed is not None:
        _failed(done, video.name, part.failed)
    if part.record is not None:
        writer.say(part.record)
        done.videos.append(video.name)


class _Meter:
    """Tells how far an indexing is."""

    def __init__(self, shares: Sequence[ToIndex], done: Indexed, progress: ProgressCall | None) -> None:
        self._videos = [one.video for one in shares]
        self._seen = [0.0] * len(shares)
        self._bytes, self._total = 0.0, float(sum(video.size for video in self._videos))
        self._done, self._progress = done, progress

    def tell(self, place: int, part: Computed) -> None:
        """A part of the share at `place` has arrived."""
        video, before = self._videos[place], self._seen[place]
        self._seen[place] = part.share if part.packed is not None else 1.0
        self._bytes += (self._seen[place] - before) * video.size
        if self._progress:
            count = len(self._videos)
            self._progress(Progress(video.name, place + 1, count, self._bytes, self._total, self._done.windows))


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

    def add(self, video: Video, windows: Sequence[NumberedWindow], packed: Packed) -> None:
        """Add windows of a video, and write a fragment if there are enough."""
        self._place(Record(video))
        for one in windows:
            self._rows.append((self._places[video.digest], one.number, one.times))
        self._packed.append(packed)
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
