"""One loop over several sources: take what is there, run the network once for all of them, hand out events."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from maclip_runtime.callbacks import CallbackList
from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence import Evidence
from maclip_runtime.sources import Address, Frame, Names, Roi, Source, SourceOptions, SourceState, is_live, part_of
from maclip_runtime.streaming.control import Control
from maclip_runtime.streaming.motion import MotionGate
from maclip_runtime.streaming.opening import open_sources
from maclip_runtime.streaming.pipeline import Pipeline, Track
from maclip_runtime.streaming.windows import Grid, Step, Window

STATUS_SECONDS = 1.0  # between two reports of a source's status
WAIT_SECONDS = 0.2  # for the next frame of a single camera
SHARED_WAIT_SECONDS = 0.01  # with several cameras: each waits for the others
MAX_OPEN_FILES = 16  # the others wait for their turn: a process may have few descriptors, and each has its decoder
FRAMES_A_TURN = 16  # of a file, before the other sources have their turn
MAX_FAILED_STEPS = 3  # in a row, before a device that fails ends the watch
AWAY = (SourceState.LOST, SourceState.CONNECTING)

log = logging.getLogger("maclip")


def watch(
    pipeline: Pipeline,
    wanted: Sequence[tuple[Address, SourceOptions]],
    gates: Sequence[MotionGate | None],
    grid: Grid,
    callbacks: CallbackList,
    evidence: Evidence | None = None,
    control: Control | None = None,
) -> Iterator[Event]:
    """Open the sources and yield their events as they happen; `gates`: a motion gate for each source, or none.

    `evidence`, which is one of the callbacks, names the files that are kept of each event. `control`, if given, sets
    the grid and the regions, and may stop the watch.

    A source that fails ends, with the events of what was open in it; the others go on. Once all have ended, the first
    failure is raised; with a single source at once. A device that fails leaves a step's windows unanswered, which is
    logged; where it fails three times in a row, all sources end with the events of what was open, and `device-failed`
    is raised. Raises `recognizer-closed` when the recogniser is closed.
    """
    with _Watch(pipeline, wanted, gates, control or Control(grid), callbacks) as running:
        for event in running.events():
            if evidence is not None:
                event = evidence.linked(event)
            callbacks.event(event)
            yield event
        error = running.error
    if error is not None:
        raise error


class Feed:
    """An open source, the `number` of the wanted ones, and its track; it was opened with `uri` and `roi`."""

    def __init__(
        self, number: int, source: Source, track: Track, uri: Address, roi: Roi | None, control: Control
    ) -> None:
        self.number = number
        self.source = source
        self.track = track
        self.uri = uri
        self.roi = roi
        self.grid, self.region = control.grid, control.region(source.name)
        self.ended = False
        self.error: MaclipError | None = None
        self._told: tuple[SourceState, float] | None = None

    def pull(self, wait_s: float, callbacks: CallbackList) -> Step:
        """What the next frames bring: the newest frame of a live source; of a file those up to the next sample."""
        for _ in range(1 if self.source.live else FRAMES_A_TURN):
            frame = self._read(wait_s, callbacks)
            if frame is None:
                return self.track.finish() if self.ended else Step()
            frame = part_of(self.region, frame)
            callbacks.frame(self.source.name, frame)
            begun = time.perf_counter()
            step = self.track.add(frame)
            if step.slots:
                callbacks.timing("prepare", time.perf_counter() - begun)
            if step:
                return step
        return Step()

    @property
    def away(self) -> bool:
        """Whether its camera is lost: what is open ends now, since nobody sees whether it goes on."""
        return self.source.live and self.source.status.state in AWAY

    @property
    def short(self) -> bool:
        """Whether it is a file that ended before its first window: it is answered as a whole clip."""
        return self.ended and self.error is None and not self.source.live and not self.track.cutter.windows

    def tell_status(self, callbacks: CallbackList) -> None:
        """Report the source's state when it has changed, and once a second."""
        now = time.monotonic()
        status = replace(self.source.status, name=self.source.name, live=self.source.live)
        if self._told is None or self._told[0] is not status.state or now - self._told[1] >= STATUS_SECONDS:
            self._told = (status.state, now)
            callbacks.status(status)

    def _read(self, wait_s: float, callbacks: CallbackList) -> Frame | None:
        begun = time.perf_counter()
        try:
            frame = self.source.read(wait_s if self.source.live else None)
        except MaclipError as error:
            frame, self.error, self.ended = None, error, True
        if frame is None:
            self.ended = self.ended or not self.source.live or self.source.status.state is SourceState.ENDED
        elif not self.source.live:  # a live source decodes in a thread of its own: here it is only waited for
            callbacks.timing("decode", time.perf_counter() - begun)
        return frame


class _Watch:
    """The loop over sources, until all have ended. Cameras are open from the start, files a few at a time."""

    def __init__(
        self,
        pipeline: Pipeline,
        wanted: Sequence[tuple[Address, SourceOptions]],
        gates: Sequence[MotionGate | None],
        control: Control,
        callbacks: CallbackList,
    ) -> None:
        self.error: MaclipError | None = None  # the first, by the order of the sources
        self._pipeline = pipeline
        self._wanted = wanted
        self._gates = gates
        self._control = control
        self._callbacks = callbacks
        self._names = Names([options for _, options in wanted])
        self._open: list[Feed] = []
        self._failed = len(wanted)  # the number of the source whose error is kept
        self._failed_steps = 0  # in a row, of the device

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        for feed in self._open:
            feed.source.close()

    def events(self) -> Iterator[Event]:
        numbers = range(len(self._wanted))
        live = [number for number in numbers if _is_live(self._wanted[number][0])]
        waiting = deque(number for number in numbers if number not in live)
        self._start(live)
        while (self._open or waiting) and not self._control.stopped:
            yield from self._adapt()
            room = MAX_OPEN_FILES - sum(not feed.source.live for feed in self._open)
            self._start([waiting.popleft() for _ in range(min(room, len(waiting)))])
            going = list(self._open)
            if self._callbacks:
                for feed in going:
                    feed.tell_status(self._callbacks)
            wait_s = _wait_s(going)
            steps = [(feed.track, feed.pull(wait_s, self._callbacks)) for feed in going]
            yield from self._answered(steps)
            for feed in going:
                if self._callbacks:
                    feed.tell_status(self._callbacks)
                if feed.ended:
                    yield from self._ended(feed)
                    feed.source.close()
                elif feed.away:
                    yield from feed.track.end()
            self._open = [feed for feed in self._open if not feed.ended]
        if self._control.stopped:
            for feed in self._open:
                yield from feed.track.end()

    def _adapt(self) -> Iterator[Event]:
        """Begin anew where the grid or a source's region has changed, with the events of what was open."""
        control = self._control
        for feed in self._open:
            wanted = control.grid, control.region(feed.source.name)
            if (feed.grid, feed.region) != wanted:
                yield from feed.track.end()
                feed.grid, feed.region = wanted
                feed.track = self._track(feed.number, feed.source)

    def _track(self, number: int, source: Source) -> Track:
        return self._pipeline.track(source.name, self._control.grid, self._gates[number], live=source.live)

    def _answered(self, steps: Sequence[tuple[Track, Step]]) -> Iterator[Event]:
        """The events of a step. Raises `device-failed` once the device has failed too often in a row."""
        try:
            yield from self._pipeline.step(steps)
        except MaclipError as error:
            if error.code != "device-failed":
                raise
            self._failed_steps += 1
            if self._failed_steps == 1:
                log.warning("some windows stay unanswered: %s", error.message)
            if self._failed_steps == MAX_FAILED_STEPS:
                for feed in self._open:
                    yield from feed.track.end()
                raise
        else:
            if any(not window.still for _, step in steps for window in step.windows):
                self._failed_steps = 0

    def _start(self, numbers: Sequence[int]) -> None:
        """Open these of the wanted sources, and begin to watch them."""
        if not numbers:
            return
        wanted = [self._wanted[number] for number in numbers]
        for number, source in zip(numbers, open_sources(wanted, alone=len(self._wanted) == 1), strict=True):
            uri, options = self._wanted[number]
            self._names.name(source, options)
            track = self._track(number, source)
            self._open.append(Feed(number, source, track, uri, options.roi, self._control))

    def _ended(self, feed: Feed) -> Iterator[Event]:
        if feed.short:
            try:
                take, answer = self._pipeline.whole(str(feed.uri), feed.roi)
            except MaclipError as error:
                feed.error = error
            else:
                clip = Window((), 0.0, take.duration_s, (0.0, take.duration_s))
                yield from self._pipeline.decide(feed.track, clip, answer)
        if feed.error is not None:
            if feed.number < self._failed:
                self._failed, self.error = feed.number, feed.error
            if len(self._wanted) > 1:
                log.warning("%s ended: %s", feed.source.name, feed.error)
        yield from feed.track.end()


def _wait_s(going: Sequence[Feed]) -> float:
    """How long to wait for a live source: not at all beside a file, which never has to wait."""
    if not all(feed.source.live for feed in going):
        return 0.0
    return WAIT_SECONDS if len(going) == 1 else SHARED_WAIT_SECONDS


def _is_live(uri: Address) -> bool:
    """Whether it is opened at the start; what cannot be told fails when its turn comes."""
    try:
        return is_live(uri)
    except MaclipError:
        return False
