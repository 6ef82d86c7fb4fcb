"""From a stream of answers to events: an action starts and ends only when an answer holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from maclip_runtime.decisions.settings import Decisions
from maclip_runtime.decisions.smoothing import MovingMean
from maclip_runtime.decisions.verdict import (
    EMPTY,
    INVALID,
    SCORE,
    STILL,
    UNCERTAIN,
    Answer,
    Verdict,
    judge,
    nothing_seen,
)

Kind = Literal["start", "update", "end"]


@dataclass(frozen=True)
class Event:
    """An action, or a stretch of "unknown", began, goes on, or ended.

    Attributes:
        kind: "start", "update" or "end".
        label: a class, "unknown" or "uncertain".
        score: smoothed probability; for "end" the mean over all its windows.
        margin: smoothed lead over the next class; for "end" the mean over all its windows.
        start_s: when it began, in the source's own time in seconds.
        end_s: until when it is known to last, likewise.
        source: the source's name, without credentials.
        reason: why `label` is no class, "" for a class; see `Verdict`.
        at: Unix time of the decision; None for files.
    """

    kind: Kind
    label: str
    score: float
    margin: float
    start_s: float
    end_s: float
    source: str
    reason: str = ""
    at: float | None = None


class Smoother:
    """Turns the answers of one source's windows into events; `clock` gives the Unix time of a live source's events."""

    def __init__(self, source: str, decisions: Decisions, clock: Callable[[], float] | None = None) -> None:
        self._source = source
        self._decisions = decisions
        self._clock = clock
        self._mean = MovingMean(decisions.smoothing_s)
        self._stretch: _Stretch | None = None
        self._ended_s: dict[str, float] = {}  # by label, of reported actions
        self._now_s = -math.inf
        self._windows = 0
        self.verdict = nothing_seen(EMPTY)

    def push(self, answer: Answer, start_s: float, end_s: float) -> list[Event]:
        """Take the next window's answer, which stands for `start_s` to `end_s`; the events it causes, in order.

        Then `verdict` is the verdict on it, smoothed.
        """
        self._windows += 1
        if end_s < self._now_s:  # the clock went back: times of the old one mean nothing now
            self._ended_s.clear()
        self._now_s = end_s
        self.verdict = verdict = self._judge(self._mean.push(answer, end_s))
        stretch = self._stretch
        if stretch and stretch.key == _key(verdict):
            stretch.extend(verdict, end_s)
            return self._report(stretch)
        events = self._end()
        self._stretch = _Stretch(verdict, start_s, end_s)
        return events + self._report(self._stretch)

    def finish(self, end_s: float | None = None) -> list[Event]:
        """End what is still open at `end_s`, because the source has ended or was lost, and forget it all.

        The answer of a source of one window is reported, however short the source is.
        """
        events: list[Event] = []
        if self._stretch:
            if end_s is not None:
                self._stretch.end_s = max(self._stretch.end_s, end_s)
            if not self._stretch.reported:
                events += self._report(self._stretch, anyhow=self._windows == 1)
            events += self._end()
        self._mean.clear()
        return events

    def _judge(self, answer: Answer) -> Verdict:
        if not answer.names:
            return nothing_seen(answer.missing)
        verdict = judge(answer.distances, answer.probabilities, answer.names, answer.limits, self._decisions)
        ready = not verdict.reason and verdict.score >= self._decisions.enter_score
        going_on = self._going_on(answer)
        if going_on and (verdict.label == going_on.label or not ready):
            return going_on
        return verdict if ready or verdict.reason else replace(verdict, label=UNCERTAIN, reason=SCORE)

    def _going_on(self, answer: Answer) -> Verdict | None:
        """The verdict of the open action, if it may go on."""
        if self._stretch is None or self._stretch.reason or self._stretch.label not in answer.names:
            return None
        label = self._stretch.label
        at = answer.names.index(label)
        score, distance = float(answer.probabilities[at]), float(answer.distances[at])
        if not (distance <= answer.limits[at] and score >= max(self._decisions.exit_score, self._decisions.min_score)):
            return None
        others = [float(p) for name, p in zip(answer.names, answer.probabilities, strict=True) if name != label]
        return Verdict(label, label, score, distance, score - max(others, default=0.0))

    def _report(self, stretch: _Stretch, anyhow: bool = False) -> list[Event]:
        """The start event of a stretch that has held long enough, or its update."""
        if stretch.reported:
            return [] if stretch.reason else [self._event("update", stretch, stretch.last)]
        if stretch.end_s - stretch.start_s < self._decisions.min_duration_s - 1e-6 and not anyhow:
            return []
        if stretch.reason and not self._decisions.report_unknown:
            return []
        ended_s = self._ended_s.get(stretch.label)
        if ended_s is not None and stretch.end_s < ended_s + self._decisions.cooldown_s - 1e-6:
            return []
        stretch.reported = True
        return [self._event("start", stretch, stretch.last)]

    def _end(self) -> list[Event]:
        stretch, self._stretch = self._stretch, None
        if stretch is None or not stretch.reported:
            return []
        if not stretch.reason:
            self._ended_s[stretch.label] = stretch.end_s
        return [self._event("end", stretch, stretch.mean)]

    def _event(self, kind: Kind, stretch: _Stretch, figures: tuple[float, float]) -> Event:
        at = self._clock() if self._clock else None
        span = (stretch.start_s, stretch.end_s)
        return Event(kind, stretch.label, *figures, *span, self._source, stretch.reason, at)


def _key(verdict: Verdict) -> tuple[str, str]:
    """Windows with the same key make a stretch: the label, and for "unknown" whether anything was measured."""
    return verdict.label, verdict.reason if verdict.reason in (STILL, INVALID, EMPTY) else ""


class _Stretch:
    """Successive windows with the same key; `reason` is the first window's."""

    def __init__(self, verdict: Verdict, start_s: float, end_s: float) -> None:
        self.key = _key(verdict)
        self.label = verdict.label
        self.reason = verdict.reason
        self.start_s = start_s
        self.end_s = end_s
        self.reported = False
        self.windows = 0
        self._sums = (0.0, 0.0)
        self.last = (0.0, 0.0)
        self.extend(verdict, end_s)

    def extend(self, verdict: Verdict, end_s: float) -> None:
        self.windows += 1
        self.end_s = end_s
        self.last = (verdict.score, verdict.margin)
        self._sums = (self._sums[0] + verdict.score, self._sums[1] + verdict.margin)

    @property
    def mean(self) -> tuple[float, float]:
        return self._sums[0] / self.windows, self._sums[1] / self.windows
