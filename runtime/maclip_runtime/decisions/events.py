"""From a stream of answers to events: an action starts and ends only when an answer holds."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from maclip_runtime.decisions.match import match_of
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
    """An action, or a stretch of "unknown", began, goes on, or ended (docs/events.md).

    Two events are equal if they say the same of the same seconds of a source, whenever that was.

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
        match: how well the distance fits, 0..1, 0.5 is at the limit (see `match_of`); for "end" the mean over all its
            windows. Of a stretch that is no class: that of the likeliest class.
        id: the same for a start, its updates and its end, and for nothing else.
        started_at: `start_s` as Unix time in seconds; None for files.
        ended_at: `end_s` as Unix time in seconds; None for files.
    """

    kind: Kind
    label: str
    score: float
    margin: float
    start_s: float
    end_s: float
    source: str
    reason: str = ""
    at: float | None = field(default=None, compare=False)
    match: float = 0.0
    id: str = field(default="", compare=False)
    started_at: float | None = field(default=None, compare=False)
    ended_at: float | None = field(default=None, compare=False)


class Smoother:
    """Turns the answers of one source's windows into events."""

    def __init__(self, source: str, decisions: Decisions) -> None:
        self._source = source
        self._decisions = decisions
        self._mean = MovingMean(decisions.smoothing_s)
        self._stretch: _Stretch | None = None
        self._ended_s: dict[str, float] = {}  # by label, of reported actions
        self._now_s = -math.inf
        self._windows = 0
        self.verdict = nothing_seen(EMPTY)

    def push(self, answer: Answer, start_s: float, end_s: float, zero_at: float | None = None) -> list[Event]:
        """Take the next window's answer; the events it causes, in order. Then `verdict` is its verdict, smoothed.

        answer: what was measured.
        start_s: from when on the answer stands, in the source's own time.
        end_s: until when it stands, likewise.
        zero_at: the Unix time at second 0 of the source; None for files.
        """
        self._windows += 1
        if end_s < self._now_s:  # the clock went back: times of the old one mean nothing now
            self._ended_s.clear()
        self._now_s = end_s
        self.verdict = verdict = self._judge(self._mean.push(answer, end_s))
        stretch = self._stretch
        if stretch and stretch.key == _key(verdict):
            stretch.extend(verdict, end_s, zero_at)
            return self._report(stretch)
        events = self._end()
        self._stretch = _Stretch(verdict, start_s, end_s, zero_at)
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
        margin = score - max(others, default=0.0)
        return Verdict(label, label, score, distance, margin, match=match_of(distance, float(answer.limits[at])))

    def _report(self, stretch: _Stretch, anyhow: bool = False) -> list[Event]:
        """The start event of a stretch that has held long enough, or its update."""
        if stretch.reported:
            return [self._event("update", stretch, stretch.last)] if self._due(stretch) else []
        if stretch.end_s - stretch.start_s < self._decisions.min_duration_s - 1e-6 and not anyhow:
            return []
        if stretch.reason and not self._decisions.report_unknown:
            return []
        ended_s = self._ended_s.get(stretch.label)
        if ended_s is not None and stretch.end_s < ended_s + self._decisions.cooldown_s - 1e-6:
            return []
        stretch.reported = True
        return [self._event("start", stretch, stretch.last)]

    def _due(self, stretch: _Stretch) -> bool:
        """Whether an update is due; of what is no class there are none."""
        every_s = self._decisions.updates_s
        return not stretch.reason and every_s is not None and stretch.end_s >= stretch.told_s + every_s - 1e-6

    def _end(self) -> list[Event]:
        stretch, self._stretch = self._stretch, None
        if stretch is None or not stretch.reported:
            return []
        if not stretch.reason:
            self._ended_s[stretch.label] = stretch.end_s
        return [self._event("end", stretch, stretch.mean)]

    def _event(self, kind: Kind, stretch: _Stretch, figures: tuple[float, float, float]) -> Event:
        score, margin, match = figures
        stretch.told_s = stretch.end_s
        return Event(
            kind,
            stretch.label,
            score,
            margin,
            stretch.start_s,
            stretch.end_s,
            self._source,
            stretch.reason,
            None if stretch.started_at is None else time.time(),
            match,
            stretch.id,
            stretch.started_at,
            stretch.ended_at,
        )


def _key(verdict: Verdict) -> tuple[str, str]:
    """Windows with the same key make a stretch: the label, and for "unknown" whether anything was measured."""
    return verdict.label, verdict.reason if verdict.reason in (STILL, INVALID, EMPTY) else ""


class _Stretch:
    """Successive windows with the same key; `reason` is the first window's."""

    def __init__(self, verdict: Verdict, start_s: float, end_s: float, zero_at: float | None) -> None:
        self.id = secrets.token_hex(8)
        self.key = _key(verdict)
        self.label = verdict.label
        self.reason = verdict.reason
        self.start_s = start_s
        self.end_s = end_s
        self.started_at = None if zero_at is None else zero_at + start_s
        self.reported = False
        self.told_s = end_s  # until when the last event of it told
        self.windows = 0
        self._sums = (0.0, 0.0, 0.0)
        self.last = (0.0, 0.0, 0.0)
        self.extend(verdict, end_s, zero_at)

    def extend(self, verdict: Verdict, end_s: float, zero_at: float | None) -> None:
        self.windows += 1
        self.end_s = end_s
        self._zero_at = zero_at
        self.last = (verdict.score, verdict.margin, verdict.match)
        score, margin, match = self._sums
        self._sums = (score + verdict.score, margin + verdict.margin, match + verdict.match)

    @property
    def ended_at(self) -> float | None:
        """Never before `started_at`, also if the machine's clock was set back in between."""
        if self._zero_at is None or self.started_at is None:
            return None
        return max(self.started_at, self._zero_at + self.end_s)

    @property
    def mean(self) -> tuple[float, float, float]:
        score, margin, match = self._sums
        return score / self.windows, margin / self.windows, match / self.windows
