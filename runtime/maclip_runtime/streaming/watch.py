"""One loop over several sources: take what is there, run the network once for all of them, hand out events."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from maclip_runtime.callbacks import CallbackList
from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Frame, Roi, Source, SourceOptions, SourceState
from maclip_runtime.streaming.motion import MotionGate
from maclip_runtime.streaming.opening import Address, open_sources
from maclip_runtime.streaming.pipeline import Pipeline, Track
from maclip_runtime.streaming.windows import Grid, Step, Window

STATUS_SECONDS = 1.0  # between two reports of a source's status
WAIT_SECONDS = 0.2  # for the next frame of a single camera
SHARED_WAIT_SECONDS = 0.01  # with several cameras: each waits for the others
FRAMES_A_TURN = 16  # of a file, before the other sources have their turn
AWAY = (SourceState.LOST, SourceState.CONNECTING)

log = logging.getLogger("maclip")


def watch(
    pipeline: Pipeline,
    wanted: Sequence[tuple[Address, SourceOptions]],
    gates: Sequence[MotionGate | None],
    grid: Grid,
    callbacks: CallbackList,
) -> Iterator[Event]:
    """Open the sources and yield their events as they happen; `gates`: a motion gate for each source, or none.

    A source that fails ends, with the events of what was open in it; the others go on. Once all have ended, the first
    failure is raised; with a single source at once. Raises `recognizer-closed` when the recogniser is closed.
    """
    with ExitStack() as stack:
        sources = open_sources(wanted)
        for source in sources:
            stack.enter_context(source)
        feeds = [
            Feed(source, pipeline.track(source.name, grid, gate, live=source.live), uri, options.roi)
            for source, gate, (uri, options) in zip(sources, gates, wanted, strict=True)
        ]
        for event in _Watch(pipeline, feeds, callbacks).events():
            callbacks.event(event)
            yield event
    for feed in feeds:
        if feed.error is not None:
            raise feed.error


class Feed:
    """An open source and its track; `uri` and `roi` are what it was opened with."""

    def __init__(self, source: Source, track: Track, uri: Address, roi: Roi | None) -> None:
        self.source = source
        self.track = track
        self.uri = uri
        self.roi = roi
        self.ended = False
        self.error: MaclipError | None = None
        self._told: tuple[SourceState, float] | None = None

    def pull(self, wait_s: float, callbacks: CallbackList) -> Step:
        """What the next frames bring: the newest frame of a live source; of a file those up to the next sample."""
        for _ in range(1 if self.source.live else FRAMES_A_TURN):
            frame = self._read(wait_s, callbacks)
            if frame is None:
                return self.track.finish() if self.ended else Step()
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
        status = self.source.status
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
    """The loop over feeds, until all have ended."""

    def __init__(self, pipeline: Pipeline, feeds: Sequence[Feed], callbacks: CallbackList) -> None:
        self._pipeline = pipeline
        self._feeds = feeds
        self._callbacks = callbacks

    def events(self) -> Iterator[Event]:
        going = list(self._feeds)
        while going:
            wait_s = _wait_s(going)
            steps = [(feed.track, feed.pull(wait_s, self._callbacks)) for feed in going]
            yield from self._pipeline.step(steps)
            for feed in going:
                if self._callbacks:
                    feed.tell_status(self._callbacks)
                if feed.ended:
                    yield from self._ended(feed)
                elif feed.away:
                    yield from feed.track.end()
            going = [feed for feed in going if not feed.ended]

    def _ended(self, feed: Feed) -> Iterator[Event]:
        if feed.short:
            try:
                take, answer = self._pipeline.whole(str(feed.uri), feed.roi)
            except MaclipError as error:
                feed.error = error
            else:
                clip = Window((), 0.0, take.duration_s, (0.0, take.duration_s))
                yield from self._pipeline.decide(feed.track, clip, answer)
        if feed.error is not None and len(self._feeds) > 1:
            log.warning("%s ended: %s", feed.source.name, feed.error)
        yield from feed.track.end()


def _wait_s(going: Sequence[Feed]) -> float:
    """How long to wait for a live source: not at all beside a file, which never has to wait."""
    if not all(feed.source.live for feed in going):
        return 0.0
    return WAIT_SECONDS if len(going) == 1 else SHARED_WAIT_SECONDS
