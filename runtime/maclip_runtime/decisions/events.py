"""From a stream of answers to events: an action starts and ends only when an answer holds."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Literal

from maclip_runtime.decisions.match import match_of
from maclip_runtime.decisions.settings import Decisions
from maclip_runtime.decisions.stretches import Stretch, key_of
from maclip_runtime.decisions.verdict import EMPTY, Answer, Verdict, judge, nothing_seen

Kind = Literal["start", "update", "end"]
# Two stretches show the same action if one takes more than this share of the other's time.
SAME_ACTION = 0.5
EPSILON_SECONDS = 1e-6  # times are sums of fractions


@dataclass(frozen=True)
class Event:
    """An action, or a stretch of "unknown", began, goes on, or ended (docs/events.md).

    Two events are equal if they say the same of the same seconds of a source, whenever that was.

    Attributes:
        kind: "start", "update" or "end".
        label: a class, "unknown" or "uncertain".
        score: probability; for "end" the mean over all its windows.
        margin: lead over the next class; for "end" the mean over all its windows.
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
        withdrawn: this was a false start; true of its last "update" and of its "end".
        strip: name of the JPEG that is kept as evidence (see `Evidence`), about a second after the end; None: none is.
        clip: name of the video, likewise.
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
    withdrawn: bool = False
    strip: str | None = field(default=None, compare=False)
    clip: str | None = field(default=None, compare=False)


class Decider:
    """Turns the answers of one source's windows into events.

    A class that passes makes a stretch, which may have gaps. Its boundaries are those of the action: windows only pass
    where most of them lies within it. If two stretches take the same time, the one with the higher match at its peak is
    the action: the other is not reported, or withdrawn if it was. A stretch that has ended is final.

    source: the source's name, without credentials.
    decisions: when an answer counts.
    reach_s: how far an action reaches beyond the parts of the stream that its windows stand for, on both sides.
    window_s: length of a window; half of it is the default of `gap_s`.
    """

    def __init__(self, source: str, decisions: Decisions, *, reach_s: float = 0.0, window_s: float = 0.0) -> None:
        self._source = source
        self._decisions = decisions
        self._reach_s = reach_s
        self._gap_s = window_s / 2 if decisions.gap_s is None else decisions.gap_s
        self._actions: list[Stretch] = []  # that may still go on, in the order in which they began
        self._idle: Stretch | None = None  # the stretch of no class
        self._windows = 0
        self._fresh = True  # no window yet since the stream began
        self._begun_s = -math.inf
        self._now_s = -math.inf
        self._taken_s = -math.inf  # up to here the stream belongs to actions that have ended
        self._told_s = -math.inf  # and up to here to events of any kind that have ended
        self.verdict = nothing_seen(EMPTY)

    def push(
        self,
        answer: Answer,
        start_s: float,
        end_s: float,
        zero_at: float | None = None,
        *,
        window_end_s: float = math.inf,
    ) -> list[Event]:
        """Take the next window's answer; the events it causes, in order. Then `verdict` is its verdict.

        answer: what was measured.
        start_s: from when on the answer stands, in the source's own time.
        end_s: until when it stands, likewise.
        zero_at: the Unix time at second 0 of the source; None for files.
        window_end_s: when the window ends: nothing later is known yet.
        """
        if self._fresh or end_s < self._now_s:  # a new stream, or its clock went back
            self._fresh, self._begun_s, self._taken_s, self._told_s = False, start_s, -math.inf, start_s
        self._windows += 1
        self._now_s = end_s
        verdicts = self._verdicts(answer)
        self.verdict = verdicts[0]
        span = (start_s - self._reach_s, max(end_s, min(end_s + self._reach_s, window_end_s)))
        for verdict in verdicts:
            if not verdict.reason:
                self._add(verdict, span, (start_s, end_s), zero_at)
        events = self._close()
        if self.verdict.reason:
            events += self._add_idle(self.verdict, (start_s, end_s), zero_at)
        return events + self._report()

    def finish(self, end_s: float | None = None) -> list[Event]:
        """End what is still open at `end_s`, because the source has ended or was lost, and forget it all.

        The answer of a source of one window is reported, however short the source is.
        """
        kept = [one for one in (*self._actions, self._idle) if one]
        if end_s is not None:
            for one in kept:
                one.end_s = max(one.end_s, end_s) if self._is_seen(one) else min(one.end_s, end_s)
        events: list[Event] = []
        if self._windows == 1 and not any(one.reported for one in kept):
            for one in kept:
                one.held_s = math.inf
            events = self._report()
        for stretch in self._actions:
            events += self._end(stretch)
        events += self._end_idle()
        self._actions.clear()
        self._fresh = True
        return events

    @property
    def _open(self) -> list[Stretch]:
        return [stretch for stretch in self._actions if stretch.reported]

    def _is_seen(self, stretch: Stretch) -> bool:
        """Whether the latest window belongs to it."""
        return stretch.seen_s >= self._now_s - EPSILON_SECONDS

    def _verdicts(self, answer: Answer) -> list[Verdict]:
        """The verdict of a window; with `overlap` one for each class that passes."""
        if not answer.names:
            return [nothing_seen(answer.missing)]
        verdict = judge(answer.distances, answer.probabilities, answer.names, answer.limits, self._decisions)
        passing = [one for name in answer.names if (one := self._passing(answer, name))]
        passing.sort(key=lambda one: -one.score)
        if self._decisions.overlap:
            return passing or [verdict]
        if verdict.reason:  # an action that is open needs no lead to go on
            alive = {stretch.label for stretch in self._actions}
            return [one for one in passing if one.label in alive][:1] or [verdict]
        return [verdict]

    def _passing(self, answer: Answer, name: str) -> Verdict | None:
        at = answer.names.index(name)
        score, distance, limit = (float(of[at]) for of in (answer.probabilities, answer.distances, answer.limits))
        if not distance <= limit or score < self._decisions.min_score:
            return None
        others = [float(p) for other, p in zip(answer.names, answer.probabilities, strict=True) if other != name]
        return Verdict(name, name, score, distance, score - max(others, default=0.0), match=match_of(distance, limit))

    def _add(
        self, verdict: Verdict, span: tuple[float, float], part: tuple[float, float], zero_at: float | None
    ) -> None:
        """Add a window to the stretch of its class, or begin one."""
        stretch = next((one for one in self._actions if one.label == verdict.label), None)
        if stretch is None:
            stretch = Stretch(verdict, max(span[0], self._begun_s), max(span[1], self._begun_s), zero_at)
            self._actions.append(stretch)
        stretch.extend(verdict, span[1], part, zero_at)

    def _add_idle(self, verdict: Verdict, part: tuple[float, float], zero_at: float | None) -> list[Event]:
        """Add a window of no class to the stretch that it belongs to, or begin one."""
        events: list[Event] = []
        if self._idle and self._idle.key != key_of(verdict):
            events = self._end_idle()
        if self._idle is None:
            self._idle = Stretch(verdict, part[0], part[1], zero_at)
        self._idle.extend(verdict, part[1], part, zero_at)
        return events

    def _close(self) -> list[Event]:
        """End the actions that have not passed for `gap_s`."""
        events: list[Event] = []
        for stretch in list(self._actions):
            if stretch.seen_s < self._now_s - self._gap_s - EPSILON_SECONDS:
                events += self._end(stretch)
                self._actions.remove(stretch)
        return events

    def _report(self) -> list[Event]:
        """Starts of what has held long enough, with the ends that this means for others; else updates."""
        events: list[Event] = []
        for stretch in list(self._actions):
            if stretch not in self._actions:  # another has replaced it
                continue
            if stretch.reported:
                if self._is_seen(stretch):
                    if self._idle and not self._idle.reported:
                        self._idle = None  # the action had only paused
                    if self._is_due(stretch):
                        events.append(self._event("update", stretch, stretch.last))
            elif self._holds(stretch) and not self._is_beaten(stretch):
                events += self._end_idle(stretch.start_s)
                if not self._decisions.overlap:
                    for other in self._open:
                        events += self._give_way(other, stretch)
                        self._actions.remove(other)
                events.append(self._start(stretch))
        idle = self._idle
        if idle and not idle.reported and self._decisions.report_unknown and self._holds(idle) and not self._open:
            events.append(self._start(idle))
        return events

    def _start(self, stretch: Stretch) -> Event:
        stretch.reported = True
        if not self._decisions.overlap or stretch.reason:
            stretch.start_s = max(stretch.start_s, self._told_s)
            stretch.end_s = max(stretch.start_s, stretch.end_s)
        return self._event("start", stretch, stretch.last)

    def _holds(self, stretch: Stretch) -> bool:
        return stretch.held_s >= self._decisions.min_duration_s - EPSILON_SECONDS

    def _is_beaten(self, stretch: Stretch) -> bool:
        """Whether another class explains the same time better."""
        if self._decisions.overlap:
            return False
        if stretch.share_until(self._taken_s) > SAME_ACTION:
            return True
        others = (one for one in self._actions if one is not stretch and (one.reported or self._holds(one)))
        return any(
            stretch.covered_by(other) > SAME_ACTION and (other.peak, other.reported) >= (stretch.peak, False)
            for other in others
        )

    def _give_way(self, other: Stretch, stretch: Stretch) -> list[Event]:
        """The events that end an open action because a better one starts: it is withdrawn, or shortened."""
        if other.covered_by(stretch) > SAME_ACTION:
            return [
                self._event("update", other, other.last, withdrawn=True),
                self._event("end", other, other.mean, withdrawn=True),
            ]
        if other.end_s > stretch.start_s and other.peak < stretch.peak:
            other.end_s = max(other.start_s, stretch.start_s)
        return self._end(other)

    def _is_due(self, stretch: Stretch) -> bool:
        every_s = self._decisions.updates_s
        return every_s is not None and stretch.end_s >= stretch.told_s + every_s - EPSILON_SECONDS

    def _end(self, stretch: Stretch) -> list[Event]:
        if not stretch.reported:
            return []
        self._taken_s = self._told_s = max(self._told_s, stretch.end_s)
        return [self._event("end", stretch, stretch.mean)]

    def _end_idle(self, end_s: float = math.inf) -> list[Event]:
        """End the stretch of no class, at `end_s` if it lasts longer."""
        idle, self._idle = self._idle, None
        if idle is None or not idle.reported:
            return []
        idle.end_s = max(idle.start_s, min(idle.end_s, end_s))
        self._told_s = max(self._told_s, idle.end_s)
        return [self._event("end", idle, idle.mean)]

    def _event(
        self, kind: Kind, stretch: Stretch, figures: tuple[float, float, float], *, withdrawn: bool = False
    ) -> Event:
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
            withdrawn,
        )
