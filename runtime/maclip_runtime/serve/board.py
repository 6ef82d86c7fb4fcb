"""What the page shows of each source: its state, the current answer, the nearest classes, and the events so far."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Answer, Event, Verdict, match_of
from maclip_runtime.reading.frames import Floats
from maclip_runtime.sinks import event_record
from maclip_runtime.sources import Frame, SourceState, SourceStatus
from maclip_runtime.telemetry.latency import AnswerTimes

MAX_EVENTS = 1000
MAX_BARS = 5  # classes whose match is shown
LATENCY_ANSWERS = 50
STAGE_TIMES = 200

Decided = Callable[[str, Answer, Floats, Verdict, float, float], None]


@dataclass
class View:
    """One source."""

    name: str
    state: str = SourceState.CONNECTING.value
    since_at: float = 0.0
    problem: str = ""
    rate: float = 0.0
    frames: int = 0
    dropped: int = 0
    reconnects: int = 0
    verdict: Verdict | None = None
    bars: list[dict[str, Any]] = field(default_factory=list)
    answered_at: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCY_ANSWERS))
    width: int = 0
    height: int = 0

    def facts(self) -> dict[str, Any]:
        """For the page, as plain values."""
        verdict = self.verdict
        return {
            "name": self.name,
            "state": self.state,
            "since_at": self.since_at,
            "problem": self.problem,
            "rate": round(self.rate, 1),
            "dropped": self.dropped,
            "reconnects": self.reconnects,
            "latency_ms": round(1000 * median(self.latencies), 1) if self.latencies else None,
            "answered_at": self.answered_at or None,
            "answer": None if verdict is None else answer_facts(verdict),
            "bars": self.bars,
            "width": self.width,
            "height": self.height,
        }


class Board(Callbacks):
    """Keeps the state of all sources. `decided` is called for each window that was measured."""

    def __init__(self, sources: list[str], decided: Decided) -> None:
        self._lock = threading.Lock()
        self._views = {name: View(name) for name in sources}
        self._decided = decided
        self._times = AnswerTimes()
        self._pending: dict[str, tuple[Answer, Floats | None, float, float]] = {}
        self._events: deque[tuple[int, dict[str, Any]]] = deque(maxlen=MAX_EVENTS)
        self._event_count = 0
        self._stages: dict[str, deque[float]] = {}

    def frame(self, source: str, frame: Frame) -> None:
        """Note when a frame came, and how large it is."""
        self._times.taken(source)
        view = self._view(source)
        if not view.width:
            view.height, view.width = (frame.whole or frame).pixels.shape[:2]

    def measured(self, source: str, answer: Answer, features: Floats | None, start_s: float, end_s: float) -> None:
        """Keep what was measured until its verdict comes."""
        self._pending[source] = answer, features, start_s, end_s

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """Show an answer."""
        view, seconds = self._view(source), self._times.answered(source)
        if seconds is not None:
            view.latencies.append(seconds)
        view.verdict, view.answered_at = verdict, time.time()
        pending = self._pending.pop(source, None)
        if pending is None:
            return
        answer, features, start_s, end_s = pending
        view.bars = bars_of(answer)
        if features is not None:
            self._decided(source, answer, features, verdict, start_s, end_s)

    def event(self, event: Event) -> None:
        """Add an event to the timeline; an update replaces nothing and is only sent on."""
        with self._lock:
            self._event_count += 1
            self._events.append((self._event_count, event_record(event)))

    def status(self, status: SourceStatus) -> None:
        """Show a source's state."""
        view = self._view(status.name)
        view.state, view.problem = status.state.value, status.problem
        view.since_at = time.time() - status.since_s
        view.rate, view.frames = status.rate, status.frames
        view.dropped, view.reconnects = status.dropped, status.reconnects
        if status.state in (SourceState.LOST, SourceState.ENDED):
            view.verdict, view.bars = None, []

    def timing(self, stage: str, seconds: float) -> None:
        """Keep how long a stage took."""
        self._stages.setdefault(stage, deque(maxlen=STAGE_TIMES)).append(seconds)

    def views(self) -> list[dict[str, Any]]:
        """All sources."""
        with self._lock:
            views = list(self._views.values())
        return [view.facts() for view in views]

    def stages(self) -> dict[str, dict[str, float]]:
        """Milliseconds of each stage: median and 99th percentile of the last 200."""
        return {
            stage: {
                "p50": round(1000 * float(np.percentile(list(times), 50)), 2),
                "p99": round(1000 * float(np.percentile(list(times), 99)), 2),
            }
            for stage, times in list(self._stages.items())
        }

    def events_after(self, number: int) -> tuple[int, list[dict[str, Any]]]:
        """The events after the `number`-th, and the number of the last one."""
        with self._lock:
            if number >= self._event_count:
                return self._event_count, []
            return self._event_count, [record for count, record in self._events if count > number]

    def history(self, *, source: str | None = None, limit: int = 200) -> list[dict[str, Any]]:
        """Actions and stretches of the last events, one record for each id, the newest first."""
        with self._lock:
            records = [record for _, record in self._events if source in (None, record["source"])]
        latest: dict[str, dict[str, Any]] = {}
        for record in records:
            latest[record["id"]] = record
        return list(reversed(latest.values()))[:limit]

    def _view(self, source: str) -> View:
        with self._lock:
            return self._views.setdefault(source, View(source))


def bars_of(answer: Answer) -> list[dict[str, Any]]:
    """The classes that fit best, with match, distance and limit."""
    if not answer.names:
        return []
    beyond = np.where(np.isfinite(answer.limits), answer.distances - answer.limits, answer.distances)
    found = []
    for place in np.argsort(beyond, kind="stable")[:MAX_BARS]:
        limit = float(answer.limits[place])
        distance = float(answer.distances[place])
        found.append(
            {
                "name": answer.names[place],
                "match": round(match_of(distance, limit), 4),
                "distance": round(distance, 4),
                "limit": None if np.isinf(limit) else round(limit, 4),
                "score": round(float(answer.probabilities[place]), 4),
            }
        )
    return found


def answer_facts(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain values."""
    return {
        "label": verdict.label,
        "nearest": verdict.nearest,
        "match": round(verdict.match, 4),
        "score": round(verdict.score, 4),
        "margin": round(verdict.margin, 4),
        "distance": None if not np.isfinite(verdict.distance) else round(verdict.distance, 4),
        "reason": verdict.reason,
    }
