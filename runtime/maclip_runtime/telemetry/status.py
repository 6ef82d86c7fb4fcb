"""One line for people: sources, frame rate, latency, what was dropped, what happened last."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Protocol

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.sources import Frame, SourceState, SourceStatus
from maclip_runtime.telemetry.latency import AnswerTimes

SAY_SECONDS = 10.0
FRAMES = 100  # whose rate is shown
ANSWERS = 50  # whose median is the latency that is shown


class Outlet(Protocol):
    """A sink or an overlay, as far as telemetry cares."""

    @property
    def name(self) -> str:
        """Where things go, without credentials."""

    @property
    def dropped(self) -> int:
        """What never arrived there."""


class StatusBoard(Callbacks):
    """Keeps the last of everything; `line()` may be asked from any thread.

    `say` is called with the line every `SAY_SECONDS`, as the sources report.

    >>> StatusBoard().line()
    'opening'
    """

    def __init__(self, outlets: Sequence[Outlet] = (), say: Callable[[str], None] | None = None) -> None:
        self._outlets = outlets
        self._say = say
        self._said_at = time.monotonic()
        self._statuses: dict[str, SourceStatus] = {}
        self._times = AnswerTimes()
        self._latencies: deque[float] = deque(maxlen=ANSWERS)
        self._taken_at: deque[float] = deque(maxlen=FRAMES)
        self._last: tuple[Event, float] | None = None

    def frame(self, source: str, frame: Frame) -> None:
        """For the frame rate and the latency."""
        self._times.taken(source)
        self._taken_at.append(time.monotonic())

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """For the latency."""
        seconds = self._times.answered(source)
        if seconds is not None:
            self._latencies.append(seconds)

    def event(self, event: Event) -> None:
        """The last start or end is shown."""
        if event.kind != "update":
            self._last = event, time.monotonic()

    def status(self, status: SourceStatus) -> None:
        """The last one of each source is shown."""
        self._statuses[status.name] = status
        if self._say and time.monotonic() - self._said_at >= SAY_SECONDS:
            self._said_at = time.monotonic()
            self._say(self.line())

    def line(self) -> str:
        """The status in one line, most important first."""
        statuses = list(self._statuses.values())
        if not statuses:
            return "opening"
        parts = [_sources(statuses), f"{self._rate():.1f} frames/s"]
        if self._latencies:
            parts.append(f"answer in {1000 * median(list(self._latencies)):.0f} ms")
        parts += self._dropped(statuses)
        if self._last:
            event, told = self._last
            parts.append(f"{event.kind} {event.label!r} {event.score:.2f}, {time.monotonic() - told:.0f} s ago")
        return " · ".join(parts)

    def _rate(self) -> float:
        """Frames a second of all sources that recognition took lately; falls while none comes."""
        taken_at = list(self._taken_at)
        return len(taken_at) / max(time.monotonic() - taken_at[0], 1e-3) if taken_at else 0.0

    def _dropped(self, statuses: Sequence[SourceStatus]) -> list[str]:
        frames = sum(status.dropped for status in statuses)
        reconnects = sum(status.reconnects for status in statuses)
        parts = [f"{frames} of {frames + sum(status.frames for status in statuses)} frames dropped"] if frames else []
        if reconnects:
            parts.append(f"{reconnects} reconnects")
        return parts + [f"{outlet.name}: {outlet.dropped} dropped" for outlet in self._outlets if outlet.dropped]


def _sources(statuses: Sequence[SourceStatus]) -> str:
    troubled = [status for status in statuses if status.state in {SourceState.STALLED, SourceState.LOST}]
    if len(statuses) == 1:
        said = statuses[0].state.value
    else:
        counts = Counter(status.state.value for status in statuses)
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
    for status in troubled[:1]:
        where = f"{status.name}: " if len(statuses) > 1 else ""
        said += f" for {status.since_s:.0f} s ({where}{status.problem or 'no frames'})"
    return said
