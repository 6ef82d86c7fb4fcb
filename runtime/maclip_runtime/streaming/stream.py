"""A stream whose frames a program hands in itself: for robots that own their camera."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

from maclip_runtime import values
from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence import Evidence
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.sources import Frame
from maclip_runtime.streaming.pipeline import Pipeline, Track

MAX_TIME_SECONDS = 1e12  # thirty thousand years; sums of larger numbers lose the fractions of a second


class Stream:
    """The frames of one camera, pushed one by one, and the events they cause. From `Recognizer.stream`.

    >>> with recognizer.stream(window_s=2, name="arm") as stream:  # doctest: +SKIP
    ...     for frame, time_s in camera:
    ...         for event in stream.push(frame, time_s):
    ...             print(event.kind, event.label)
    ... for event in stream.end():  # what was still open
    ...     print(event.kind, event.label)

    Leaving the `with` block ends the stream; the events of that are kept for `end`. Safe to use from several
    threads, which take turns.
    """

    def __init__(self, pipeline: Pipeline, track: Track, evidence: Evidence | None = None) -> None:
        self._pipeline = pipeline
        self._track = track
        self._evidence = evidence
        if evidence is not None:
            evidence.is_live(track.name)
        self._turn = threading.Lock()
        self._ended = False
        self._closing: list[Event] = []  # events of the end that nobody has asked for yet

    @property
    def name(self) -> str:
        """The `source` of its events."""
        return self._track.name

    def push(self, frame: Pixels, time_s: float) -> list[Event]:
        """Hand in the next frame and get the events it causes; takes as long as the network when a window is full.

        A time that goes back, or a gap of a minute, starts the stream anew. An error of the engine leaves the window
        unanswered; the stream can go on.

        Args:
            frame: uint8 [H, W, 3] RGB; it is copied, so its buffer can be used again.
            time_s: when it was taken, in seconds, on any clock.

        Raises `frames-invalid`, `stream-ended`, `recognizer-closed`.
        """
        frame = values.pixels(frame, "frame", "H, W, 3")
        time_s = values.number(
            time_s, "time_s", code="frames-invalid", minimum=-MAX_TIME_SECONDS, maximum=MAX_TIME_SECONDS
        )
        with self._turn:
            self._pipeline.encoder.require_open()
            if self._ended:
                raise MaclipError(
                    "stream-ended", f"The stream {self.name!r} has ended.", "Open another with Recognizer.stream."
                )
            # A copy: the frame is kept until the next one, and the program may fill its buffer again before that.
            shown = Frame(frame.copy(), time_s, 0)
            if self._evidence is not None:
                self._evidence.frame(self.name, shown)
            step = self._track.add(shown)
            return self._linked(self._pipeline.step([(self._track, step)]))

    def end(self) -> list[Event]:
        """End the stream and get the events that end what was open: once, also after the `with` block.

        Raises `recognizer-closed` if the recogniser was closed before the stream was ended.
        """
        with self._turn:
            if not self._ended:
                self._finish()
            events, self._closing = self._closing, []
            return events

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._turn:
            if self._ended:
                return
            if error is None and not self._pipeline.encoder.closed:
                self._finish()
            else:  # to run the network once more could hide the error
                self._ended, self._closing = True, self._linked(self._track.end())

    def _finish(self) -> None:
        self._pipeline.encoder.require_open()
        self._ended = True
        events = [*self._pipeline.step([(self._track, self._track.finish())]), *self._track.end()]
        self._closing = self._linked(events)

    def _linked(self, events: Iterable[Event]) -> list[Event]:
        """The events with the names of the files that are kept of them."""
        if self._evidence is None:
            return list(events)
        linked = [self._evidence.linked(event) for event in events]
        for event in linked:
            self._evidence.event(event)
        return linked
