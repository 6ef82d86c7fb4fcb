"""Callbacks of a running watch: the overlay, the telemetry, sinks and benchmarks implement them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from maclip_runtime.decisions import Answer, Event, Verdict
from maclip_runtime.reading.frames import Floats
from maclip_runtime.sources import Frame, SourceStatus

log = logging.getLogger("maclip")


class Callbacks:
    """Override the methods you need; each does nothing by default.

    The watching thread calls them in order and waits for them, so return quickly: hand longer work to a thread of
    your own. `source` is the source's name, without credentials.
    """

    def frame(self, source: str, frame: Frame) -> None:
        """A frame was read from a source."""

    def measured(self, source: str, answer: Answer, features: Floats | None, start_s: float, end_s: float) -> None:
        """A window from `start_s` to `end_s` was measured; `verdict` follows.

        `features`: of the window, float32 [T, D']; None where it is still.
        """

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """A window was answered; the answer stands for `start_s` to `end_s` of the source's time."""

    def event(self, event: Event) -> None:
        """An event happened."""

    def status(self, status: SourceStatus) -> None:
        """A source's state changed, or a second has passed; also told before a source's first frame."""

    def timing(self, stage: str, seconds: float) -> None:
        """A stage took so long. Stages: "decode", "prepare", "stem", "tower", "visual", "match", "decide"."""


class CallbackList(Callbacks):
    """Calls several callbacks in turn. One that raises is logged once and dropped; recognition goes on."""

    def __init__(self, callbacks: Iterable[Callbacks] = ()) -> None:
        self._callbacks = list(callbacks)

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def frame(self, source: str, frame: Frame) -> None:
        """Call each `frame`."""
        self._each(lambda one: one.frame(source, frame))

    def measured(self, source: str, answer: Answer, features: Floats | None, start_s: float, end_s: float) -> None:
        """Call each `measured`."""
        self._each(lambda one: one.measured(source, answer, features, start_s, end_s))

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """Call each `verdict`."""
        self._each(lambda one: one.verdict(source, verdict, start_s, end_s))

    def event(self, event: Event) -> None:
        """Call each `event`."""
        self._each(lambda one: one.event(event))

    def status(self, status: SourceStatus) -> None:
        """Call each `status`."""
        self._each(lambda one: one.status(status))

    def timing(self, stage: str, seconds: float) -> None:
        """Call each `timing`."""
        self._each(lambda one: one.timing(stage, seconds))

    def _each(self, call: Callable[[Callbacks], None]) -> None:
        for one in list(self._callbacks):
            try:
                call(one)
            except Exception:
                log.exception("%s failed and is not called again", type(one).__name__)
                self._callbacks.remove(one)
