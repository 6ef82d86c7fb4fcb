"""From frames to events: stem, tower, matching, limits and decisions, for all sources of a stream together.

`Pipeline.step` serves `Recognizer.watch` and `Recognizer.stream` alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from os import PathLike
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from maclip_runtime.callbacks import CallbackList
from maclip_runtime.decisions import Answer, Decider, Decisions, Event
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.matching.clips import read_take
from maclip_runtime.matching.index import Index
from maclip_runtime.reading.frames import Floats, Pixels, prepare
from maclip_runtime.reading.take import Take
from maclip_runtime.sources import Frame, Roi
from maclip_runtime.streaming.motion import MotionGate
from maclip_runtime.streaming.windows import Cutter, Grid, Slot, Step, Window

MAX_ROWS = 16  # frames or windows in one run of a graph: bounds the memory that a run takes

Item = TypeVar("Item")
Number = TypeVar("Number", bound=np.generic)


class InStream(Protocol):
    """The classes that a stream is matched with, which may change: see `CurrentIndex`."""

    def in_stream(self) -> Index | None:
        """The index now; None: there is no class."""


class Track:
    """One source on its way from frames to events: its windows, and what its answers came to.

    `zero_at` is the Unix time at second 0 of a live source, by its newest frame.
    """

    def __init__(self, name: str, cutter: Cutter, decider: Decider, *, live: bool) -> None:
        self.name = name
        self.cutter = cutter
        self.decider = decider
        self._live = live
        self.zero_at: float | None = None

    def add(self, frame: Frame) -> Step:
        """Take the next frame. Hand the step to `Pipeline.step` before the next one."""
        if self._live:
            self.zero_at = time.time() - frame.time_s
        return self.cutter.add(frame)

    def finish(self) -> Step:
        """The last step: the source has ended."""
        return self.cutter.finish()

    def end(self) -> list[Event]:
        """The events that end what is still open, after the last step or when the source is lost."""
        return self.decider.finish(self.cutter.end_s)


class Pipeline:
    """Turns steps of sources into events; each graph runs once for all sources of a step.

    The gallery's index may change between two steps. Safe to use from several threads with a track each.
    """

    def __init__(
        self, encoder: Encoder, index: InStream, decisions: Decisions, callbacks: CallbackList | None = None
    ) -> None:
        self.encoder = encoder
        self._index = index
        self._decisions = decisions
        self._callbacks = callbacks or CallbackList()
        self._network = Network(encoder, self._callbacks)

    def track(self, name: str, grid: Grid, gate: MotionGate | None, *, live: bool) -> Track:
        """A new source; `live`: it is a camera, whose events say at what time of day they happened."""
        prepared = partial(prepare, preprocess=self.encoder.bundle.manifest.preprocess)
        return Track(
            name,
            Cutter(grid, prepared, gate, live),
            Decider(name, self._decisions, reach_s=grid.reach_s, window_s=grid.window_s),
            live=live,
        )

    def step(self, steps: Sequence[tuple[Track, Step]]) -> Iterator[Event]:
        """The events of one step of each track, in the order of the tracks.

        If a graph fails, its error is raised and the step's windows stay unanswered; the next step is not affected.
        Raises `recognizer-closed`.
        """
        self.encoder.require_open()
        for track, step in steps:
            if step.lost_s is not None:
                yield from track.decider.finish(step.lost_s)
        due = [(track, window) for track, step in steps for window in step.windows]
        moving = [window for _, window in due if not window.still]
        # A window may hold slots of an earlier step whose stem run failed: they are run now.
        self._network.run_stem([*chain.from_iterable(step.slots for _, step in steps), *_slots(moving)])
        measured = iter([one for some in pieces(moving) for one in self._measured(some)])
        for track, window in due:
            answer, features = (Answer.nothing(still=True), None) if window.still else next(measured)
            self._callbacks.measured(track.name, answer, features, window.start_s, window.end_s)
            yield from self.decide(track, window, answer)

    def _measured(self, windows: Sequence[Window]) -> list[tuple[Answer, Floats]]:
        features = self._network.features(windows)
        return list(zip(self.measure(features), features, strict=True))

    def decide(self, track: Track, window: Window, answer: Answer) -> list[Event]:
        """The events that a window's answer causes, after those of the windows before it."""
        begun = time.perf_counter()
        events = track.decider.push(answer, *window.covers_s, track.zero_at, window_end_s=window.end_s)
        self._callbacks.timing("decide", time.perf_counter() - begun)
        self._callbacks.verdict(track.name, track.decider.verdict, *window.covers_s)
        return events

    def whole(self, path: str | PathLike[str], roi: Roi | None = None) -> tuple[Take, Answer]:
        """A whole clip and what was measured of it. Raises `clip-unreadable`, `clip-too-short`."""
        take = read_take(path, self.encoder.bundle.manifest, roi)
        return take, self.measure(self.encoder.features(take.frames[None]))[0]

    def measure(self, features: Floats) -> list[Answer]:
        """What B windows or clips were measured to be: query features float32 [B, T, D']."""
        with self._network.timed("match"):
            index = self._index.in_stream()
            if index is None:
                return [Answer.nothing()] * len(features)
            usable = np.asarray(np.isfinite(features).all(axis=(1, 2)))
            queries = np.where(usable[:, None, None], features, 0)
            match = self.encoder.match(queries, index.prototypes, index.text, index.has_text, prepared=True)
            usable &= np.isfinite(match.probabilities + match.distances).all(axis=1)
        return [
            Answer(index.names, distances, probabilities, index.limits) if fits else Answer.nothing(invalid=True)
            for fits, distances, probabilities in zip(usable, match.distances, match.probabilities, strict=True)
        ]


class Network:
    """A bundle's stem and tower, or its one visual graph, run on slots and windows; reports how long each took."""

    def __init__(self, encoder: Encoder, callbacks: CallbackList | None = None) -> None:
        self._encoder = encoder
        self._callbacks = callbacks or CallbackList()

    def run_stem(self, slots: Sequence[Slot]) -> None:
        """Give each slot that has none its tokens; does nothing if the bundle has no stem."""
        if not self._encoder.has_stem:
            return
        for some in pieces([slot for slot in dict.fromkeys(slots) if slot.tokens is None]):
            with self.timed("stem"):
                tokens = self._encoder.stem(np.stack([_pixels(slot) for slot in some]))
            for slot, made in zip(some, tokens, strict=True):
                # A copy: a view would keep the whole run's tokens for as long as one frame of it is in a ring.
                slot.tokens = made.copy() if len(some) > 1 else made
                slot.pixels = slot.pixels if self._encoder.keeps_pixels else None

    def features(self, windows: Sequence[Window]) -> Floats:
        """Query features float32 [B, T, D'] of at most `MAX_ROWS` windows whose slots have passed the stem."""
        if self._encoder.has_stem:
            if self._encoder.keeps_pixels:
                self.run_stem([*_slots(windows)])  # none has tokens where a server went away a moment ago
            tokens = _gathered([[_tokens(slot) for slot in window.slots] for window in windows])
            with self.timed("tower"):
                return self._encoder.tower(tokens)  # (B, T, N+1, D) -> (B, T, D')
        frames = _gathered([[_pixels(slot) for slot in window.slots] for window in windows])
        with self.timed("visual"):
            return self._encoder.features(frames)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Report how long this block took."""
        begun = time.perf_counter()
        yield
        self._callbacks.timing(stage, time.perf_counter() - begun)


def pieces(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """`items` in parts of at most `MAX_ROWS`."""
    return (items[at : at + MAX_ROWS] for at in range(0, len(items), MAX_ROWS))


def _slots(windows: Sequence[Window]) -> Iterator[Slot]:
    return (slot for window in windows for slot in window.slots)


def _pixels(slot: Slot) -> Pixels:
    assert slot.pixels is not None
    return slot.pixels


def _tokens(slot: Slot) -> Floats:
    assert slot.tokens is not None
    return slot.tokens


def _gathered(rows: list[list[npt.NDArray[Number]]]) -> npt.NDArray[Number]:
    """B rows of T arrays as one array [B, T, ...], copied once."""
    flat = np.stack([array for row in rows for array in row])
    return flat.reshape(len(rows), -1, *flat.shape[1:])
