"""A status line for people: sources, frame rate, latency, dropped frames, the last event."""

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

STATUS_SECONDS = 10.0
RATE_FRAMES = 100  # the shown rate is over so many frames
LATENCY_ANSWERS = 50  # the shown latency is the median of so many answers


class Outlet(Protocol):
    """What telemetry needs of a sink or an overlay."""

    @property
    def name(self) -> str:
        """The destination, without credentials."""

    @property
    def dropped(self) -> int:
        """How many events or frames were lost."""


class StatusBoard(Callbacks):
    """Keeps the latest status; `line` is thread-safe.

    outlets: sinks and overlays whose losses are shown.
    say: called with the line every `STATUS_SECONDS` while sources report.

    >>> StatusBoard().line()
    'opening'
    """

    def __init__(self, outlets: Sequence[Outlet] = (), say: Callable[[str], None] | None = None) -> None:
        self._outlets = outlets
        self._say = say
        self._said_at = time.monotonic()
        self._statuses: dict[str, SourceStatus] = {}
        self._times = AnswerTimes()
        self._latencies: deque[float] = deque(maxlen=LATENCY_ANSWERS)
        self._taken_at: deque[float] = deque(maxlen=RATE_FRAMES)
        self._last: tuple[Event, float] | None = None

    def frame(self, source: str, frame: Frame) -> None:
        """Update the frame rate and the latency."""
        self._times.taken(source)
        self._taken_at.append(time.monotonic())

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """Update the latency."""
        seconds = self._times.answered(source)
        if seconds is not None:
            self._latencies.append(seconds)

    def event(self, event: Event) -> None:
        """Keep the last start or end."""
        if event.kind != "update":
            self._last = event, time.monotonic()

    def status(self, status: SourceStatus) -> None:
        """Keep the last status of each source."""
        self._statuses[status.name] = status
        if self._say and time.monotonic() - self._said_at >= STATUS_SECONDS:
            self._said_at = time.monotonic()
            self._say(self.line())

    def line(self) -> str:
        """The status in one line, the most important first."""
        statuses = list(self._statuses.values())
        if not statuses:
            return "opening"
        parts = [_sources(statuses), f"{self._rate():.1f} frames/s"]
        if self._latencies:
            parts.append(f"answer in {1000 * median(list(self._latencies)):.0f} ms")
        parts += self._dropped(statuses)
        if self._last:
            event, at = self._last
            kind = "withdrawn" if event.withdrawn else event.kind
            parts.append(f"{kind} {event.label!r} match {event.match:.2f}, {time.monotonic() - at:.0f} s ago")
        return " · ".join(parts)

    def _rate(self) -> float:
        """Recent frames per second of all sources; it falls while none arrive."""
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
    failing = [status for status in statuses if status.state in {SourceState.STALLED, SourceState.LOST}]
    if len(statuses) == 1:
        text = statuses[0].state.value
    else:
        counts = Counter(status.state.value for status in statuses)
        text = ", ".join(f"{count} {state}" for state, count in counts.items())
    for status in failing[:1]:
        where = f"{status.name}: " if len(statuses) > 1 else ""
        text += f" for {status.since_s:.0f} s ({where}{status.problem or 'no frames'})"
    return text
