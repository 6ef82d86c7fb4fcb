"""What may be told while streams are watched: the overlay, the telemetry, a status line and benchmarks listen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.sources import Frame, SourceStatus

log = logging.getLogger("maclip")


class Listener:
    """Override what is of interest; each method does nothing.

    Called by the watching thread in the order of things, so a method returns at once: whoever needs longer
    hands over to a thread of its own. `source` is the source's name, without credentials.
    """

    def frame(self, source: str, frame: Frame) -> None:
        """A frame was taken from a source."""

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """A window was answered; the answer speaks for `start_s` to `end_s` of the source's time."""

    def event(self, event: Event) -> None:
        """An event happened."""

    def status(self, status: SourceStatus) -> None:
        """A source's state changed, or a second has passed."""

    def timing(self, stage: str, seconds: float) -> None:
        """One step took so long. Stages: "decode", "prepare", "stem", "tower", "visual", "match", "decide"."""


class Audience(Listener):
    """All listeners of one watch. One that raises is logged once and left out; recognition goes on."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = list(listeners)

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def frame(self, source: str, frame: Frame) -> None:
        """Tell everyone."""
        self._tell(lambda listener: listener.frame(source, frame))

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """Tell everyone."""
        self._tell(lambda listener: listener.verdict(source, verdict, start_s, end_s))

    def event(self, event: Event) -> None:
        """Tell everyone."""
        self._tell(lambda listener: listener.event(event))

    def status(self, status: SourceStatus) -> None:
        """Tell everyone."""
        self._tell(lambda listener: listener.status(status))

    def timing(self, stage: str, seconds: float) -> None:
        """Tell everyone."""
        self._tell(lambda listener: listener.timing(stage, seconds))

    def _tell(self, call: Callable[[Listener], None]) -> None:
        for listener in list(self._listeners):
            try:
                call(listener)
            except Exception:
                log.exception("%s failed and is told nothing more", type(listener).__name__)
                self._listeners.remove(listener)
