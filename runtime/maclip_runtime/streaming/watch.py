"""One loop over all sources: take what is there, run the network once for all of them, hand out events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from maclip_runtime.callbacks import Audience
from maclip_runtime.decisions import Answer, Event
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Frame, Source, SourceState
from maclip_runtime.streaming.answering import Answerer
from maclip_runtime.streaming.cutter import Step, Window
from maclip_runtime.streaming.stream import Stream

STATUS_SECONDS = 1.0  # between two reports of a source's status
WAIT_SECONDS = 0.2  # for the next frame of a single camera
WAIT_SECONDS_EACH = 0.01  # where there are several: each waits for the others
FRAMES_A_TURN = 16  # of a file, before the other sources have their turn
AWAY = (SourceState.LOST, SourceState.CONNECTING)

log = logging.getLogger("maclip")


class Feed:
    """An open source and its stream; `whole` answers a file that was shorter than a window, and says how long it is."""

    def __init__(self, source: Source, stream: Stream, whole: Callable[[], tuple[Answer, float]] | None = None) -> None:
        self.source = source
        self.stream = stream
        self.whole = whole
        self.ended = False
        self.error: MaclipError | None = None
        self._told: tuple[SourceState, float] | None = None

    def pull(self, wait_s: float, audience: Audience) -> Step:
        """What the next frames bring: of a live source the newest one, of a file those up to the next sample."""
        for _ in range(1 if self.source.live else FRAMES_A_TURN):
            frame = self._read(wait_s, audience)
            if frame is None:
                return self.stream.finish() if self.ended else Step()
            audience.frame(self.source.name, frame)
            begun = time.perf_counter()
            step = self.stream.add(frame)
            if step.slots:
                audience.timing("prepare", time.perf_counter() - begun)
            if step:
                return step
        return Step()

    def away(self) -> list[Event]:
        """What is open ends once its camera is lost, not when it comes back: nobody sees whether it goes on."""
        if not self.source.live or self.source.status.state not in AWAY:
            return []
        return self.stream.end()

    def tell_status(self, audience: Audience) -> None:
        """Report the source's state where it has changed, and once a second."""
        now = time.monotonic()
        status = self.source.status
        if self._told is None or self._told[0] is not status.state or now - self._told[1] >= STATUS_SECONDS:
            self._told = (status.state, now)
            audience.status(status)

    def _read(self, wait_s: float, audience: Audience) -> Frame | None:
        begun = time.perf_counter()
        try:
            frame = self.source.read(wait_s if self.source.live else None)
        except MaclipError as error:
            frame, self.error, self.ended = None, error, True
        if frame is None:
            self.ended = self.ended or not self.source.live or self.source.status.state is SourceState.ENDED
        elif not self.source.live:  # a live source decodes in a thread of its own: here it is only waited for
            audience.timing("decode", time.perf_counter() - begun)
        return frame


class Watcher:
    """Events of several sources as they happen.

    A source that fails ends, with the events of what was open; the others go on. Once all have ended, the first
    failure is raised: with a single source at once.
    """

    def __init__(self, feeds: Sequence[Feed], answerer: Answerer, audience: Audience) -> None:
        self._feeds = feeds
        self._answerer = answerer
        self._audience = audience

    def events(self) -> Iterator[Event]:
        """Read all sources to their end; closes them. Raises what the sources do, see above."""
        try:
            for event in self._events():
                self._audience.event(event)
                yield event
        finally:
            for feed in self._feeds:
                feed.source.close()
        for feed in self._feeds:
            if feed.error is not None:
                raise feed.error

    def _events(self) -> Iterator[Event]:
        going = list(self._feeds)
        while going:
            wait_s = self._wait_s(going)
            steps = [(feed, feed.pull(wait_s, self._audience)) for feed in going]
            yield from self._answered(steps)
            for feed in going:
                if self._audience:
                    feed.tell_status(self._audience)
                yield from self._ended(feed) if feed.ended else feed.away()
            going = [feed for feed in going if not feed.ended]

    def _wait_s(self, going: list[Feed]) -> float:
        """How long a live source may be waited for: not at all beside a file, which never has to be."""
        if not all(feed.source.live for feed in going):
            return 0.0
        return WAIT_SECONDS if len(going) == 1 else WAIT_SECONDS_EACH

    def _answered(self, steps: list[tuple[Feed, Step]]) -> Iterator[Event]:
        """The events of this turn: one run of each graph for all sources, then each source's in its order."""
        for feed, step in steps:
            yield from feed.stream.lose(step)
        self._answerer.pass_stem([slot for _, step in steps for slot in step.slots])
        due = [(feed, window) for feed, step in steps for window in step.windows]
        answers = self._answerer.answers([window for _, window in due])
        for (feed, window), answer in zip(due, answers, strict=True):
            yield from self._decided(feed, window, answer)

    def _decided(self, feed: Feed, window: Window, answer: Answer) -> list[Event]:
        begun = time.perf_counter()
        verdict, events = feed.stream.decide(answer, window)
        self._audience.timing("decide", time.perf_counter() - begun)
        self._audience.verdict(feed.source.name, verdict, *window.covers_s)
        return events

    def _ended(self, feed: Feed) -> Iterator[Event]:
        if feed.error is None and feed.whole and not feed.stream.windows:
            try:
                answer, duration_s = feed.whole()
            except MaclipError as error:
                feed.error = error
            else:
                clip = Window((), 0.0, duration_s, (0.0, duration_s))
                yield from self._decided(feed, clip, answer)
        if feed.error is not None and len(self._feeds) > 1:
            log.warning("%s ended: %s", feed.source.name, feed.error)
        yield from feed.stream.end()
