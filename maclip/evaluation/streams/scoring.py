"""How well events agree with what happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
import numpy.typing as npt

from maclip.segments import Segment
from maclip_runtime.decisions import Answer, Decider, Decisions
from maclip_runtime.reading.frames import Floats
from maclip_runtime.streaming.windows import reach_of


@dataclass(frozen=True)
class Watched:
    """What was measured of one stream with one gallery: distances and probabilities [n, C] of windows, `start_s` [n].

    Decisions of any kind can be tried on it without the network. `actions` are those of enrolled classes.
    """

    names: tuple[str, ...]
    limits: Floats
    distances: Floats
    probabilities: Floats
    start_s: npt.NDArray[np.float64]
    window_s: float
    hop_s: float
    duration_s: float
    actions: tuple[Segment, ...]


@dataclass(frozen=True)
class Scores:
    """Of `actions`, `found` were reported under their name; `repeated` and `false_alarms` were reported beside that.

    `latency_s` are seconds from an action's beginning to the end of the window with which its start was reported, which
    is when it is known on a camera (the time that computing takes aside). `boundary_s` are by how many seconds the
    beginnings and ends of what was found were missed. `withdrawn` starts were taken back, and count as nothing else.
    `hours` of video were watched.
    """

    actions: int
    found: int
    repeated: int
    false_alarms: int
    hours: float
    latency_s: tuple[float, ...] = ()
    boundary_s: tuple[float, ...] = ()
    withdrawn: int = 0

    @property
    def precision(self) -> float:
        """Share of reports that are right and new; 0 for none."""
        return self.found / max(1, self.found + self.repeated + self.false_alarms)

    @property
    def recall(self) -> float:
        """Share of actions that were reported."""
        return self.found / max(1, self.actions)

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {
            "f1": round(self.f1, 4),
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "false_alarms_an_hour": round(self.false_alarms / self.hours, 1) if self.hours else None,
            "latency_mean_s": round(fmean(self.latency_s), 3) if self.latency_s else None,
            "latency_median_s": round(median(self.latency_s), 3) if self.latency_s else None,
            "boundary_median_s": round(median(self.boundary_s), 3) if self.boundary_s else None,
            "actions": self.actions,
            "found": self.found,
            "repeated": self.repeated,
            "false_alarms": self.false_alarms,
            "withdrawn": self.withdrawn,
        }


def total(scores: Sequence[Scores]) -> Scores:
    """All of them as one."""
    return Scores(
        sum(one.actions for one in scores),
        sum(one.found for one in scores),
        sum(one.repeated for one in scores),
        sum(one.false_alarms for one in scores),
        sum(one.hours for one in scores),
        tuple(seconds for one in scores for seconds in one.latency_s),
        tuple(seconds for one in scores for seconds in one.boundary_s),
        sum(one.withdrawn for one in scores),
    )


def score_events(watched: Watched, decisions: Decisions, hop: int, shift: float = 0.0) -> Scores:
    """Decide on every `hop`-th window, with `shift` added to the limits (inf: no limit)."""
    reports, withdrawn = _reports(watched, decisions, hop, shift)
    found: dict[int, float] = {}
    boundaries: list[float] = []
    repeated = false_alarms = 0
    for report in reports:
        during = [
            place
            for place, action in enumerate(watched.actions)
            if action.name == report.label and min(action.end_s, report.end_s) > max(action.start_s, report.start_s)
        ]
        new = next((place for place in during if place not in found), None)
        if new is not None:
            action = watched.actions[new]
            found[new] = report.known_s - action.start_s
            boundaries += [abs(report.start_s - action.start_s), abs(report.end_s - action.end_s)]
        elif during:
            repeated += 1
        else:
            false_alarms += 1
    return Scores(
        len(watched.actions),
        len(found),
        repeated,
        false_alarms,
        watched.duration_s / 3600,
        tuple(found.values()),
        tuple(boundaries),
        withdrawn,
    )


def score_all(items: Iterable[Watched], decisions: Decisions, hop: int, shift: float = 0.0) -> Scores:
    """`score_events` of all of them together."""
    return total([score_events(one, decisions, hop, shift) for one in items])


@dataclass(frozen=True)
class _Report:
    """An action that was reported: from when to when, and when its start was known."""

    label: str
    start_s: float
    end_s: float
    known_s: float


def _reports(watched: Watched, decisions: Decisions, hop: int, shift: float) -> tuple[list[_Report], int]:
    """The actions that were reported and stood, and how many were withdrawn."""
    hop_s = hop * watched.hop_s
    decider = Decider("drawn", decisions, reach_s=reach_of(watched.window_s, hop_s), window_s=watched.window_s)
    limits = watched.limits + np.float32(shift)
    known: dict[str, float] = {}
    reports: list[_Report] = []
    covered_s, last = 0.0, len(watched.start_s) - 1
    for place in range(0, last + 1, hop):
        start_s = float(watched.start_s[place])
        until_s = start_s + (watched.window_s + hop_s) / 2  # as streams share out their time
        answer = Answer(watched.names, watched.distances[place], watched.probabilities[place], limits)
        events = decider.push(answer, covered_s, until_s)
        covered_s, known_s = until_s, start_s + watched.window_s
        if place + hop > last:
            events = events + decider.finish(watched.duration_s)
        for event in events:
            if event.kind == "start" and not event.reason:
                known[event.id] = known_s
            elif event.kind == "end" and not event.reason and not event.withdrawn:
                reports.append(_Report(event.label, event.start_s, event.end_s, known[event.id]))
    return sorted(reports, key=lambda one: one.start_s), len(known) - len(reports)
