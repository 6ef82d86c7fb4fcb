"""From distances to an answer, and from a stream of answers to events.

Three rules, in order: an answer is "unknown" where its distance or its score says so; where that distance
lies is measured on the gallery itself; an event starts and ends only when an answer holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from maclip_runtime.frames import Floats

UNKNOWN = "unknown"
# Above this balanced error (0 perfect, 1 chance) the gallery cannot tell its own clips from others.
SEPARABLE = 0.5


@dataclass(frozen=True)
class Verdict:
    """The answer for one clip or window.

    `label` is a class or "unknown"; `nearest` the likeliest class either way, with its probability `score`,
    its `distance`, and `margin`, how far the next class's probability lies below (the score itself, alone).
    """

    label: str
    nearest: str
    score: float
    distance: float
    margin: float

    @property
    def unknown(self) -> bool:
        """Whether no enrolled class fits."""
        return self.label == UNKNOWN


@dataclass(frozen=True)
class Decisions:
    """When an answer counts.

    `min_score`: probabilities below are "unknown". `max_distance`: distances above are "unknown"; None for
    no limit. `enter_windows`: windows in a row a label must hold to start. `exit_windows`: windows in a row
    it must be absent to end. `report_unknown`: whether stretches of "unknown" give start and end events too.
    """

    min_score: float = 0.0  # probability, 0..1
    max_distance: float | None = None  # in the metric's own unit
    enter_windows: int = 2  # windows
    exit_windows: int = 2  # windows
    report_unknown: bool = True


@dataclass(frozen=True)
class Event:
    """Something began, goes on, or ended in `source`.

    `start_s` and `end_s` are seconds since the source's first frame; `end_s` is as far as is known by now.
    `score` and `margin` are this window's for "start" and "update", the mean over all windows for "end".
    """

    kind: Literal["start", "update", "end"]
    label: str
    score: float
    margin: float
    start_s: float
    end_s: float
    source: str


def judge(
    distances: Floats, probabilities: Floats, names: Sequence[str], limits: Floats, decisions: Decisions
) -> Verdict:
    """The answer for one query: distances and probabilities float32 [C] in the order of `names`, C >= 1.

    `limits` float32 [C]: the distance above which each class's answer is "unknown", inf for never.
    """
    order = np.argsort(-probabilities, kind="stable")
    best = int(order[0])
    score, distance = float(probabilities[best]), float(distances[best])
    margin = score - (float(probabilities[order[1]]) if len(order) > 1 else 0.0)
    known = distance <= limits[best] and score >= decisions.min_score
    return Verdict(names[best] if known else UNKNOWN, names[best], score, distance, margin)


def unknown_distance(own: Sequence[float], others: Sequence[float], prior: float | None) -> float | None:
    """The distance above which an answer is "unknown", measured on a gallery; None where nothing is known.

    `own`: each enrolled clip's distance to its own class with the clip left out (classes of two clips or
    more). `others`: each clip's distance to the nearest other class, which is how a clip of no enrolled class
    looks. `prior` is the bundle's own figure.

    - Both known and separable: the cut with the fewest errors (share of `own` refused plus share of `others`
      accepted). Of the cuts that do equally well the prior, if it lies among them, else the middle.
    - Both known, not separable (classes alike, as an action and its reverse): the nearest other class says
      nothing about strangers. The prior, if it accepts most own clips; else as far as the farthest own clip.
    - Only `others`: the prior, but no farther than the farthest other; without a prior, their median.
    - Only `own` (one class): the prior or, if farther, the farthest own clip.
    """
    if own and others:
        return _best_cut(np.sort(np.asarray(own)), np.sort(np.asarray(others)), prior)
    if others:
        return float(np.median(others)) if prior is None else min(prior, max(others))
    if own:
        return max(own) if prior is None else max(prior, max(own))
    return prior


def _best_cut(own: Floats, others: Floats, prior: float | None) -> float:
    values = np.unique(np.concatenate([own, others]))
    # Cutting at v accepts distances <= v; any cut in [v, next) does as well.
    refused = 1 - np.searchsorted(own, values, side="right") / len(own)
    accepted = np.searchsorted(others, values, side="right") / len(others)
    errors = refused + accepted
    if errors.min() > SEPARABLE:
        return prior if prior is not None and prior >= np.median(own) else float(own[-1])
    best = int(np.flatnonzero(errors <= errors.min() + 1e-9)[-1])  # a tie: rather accept
    low = float(values[best])
    if best + 1 == len(values):
        return low if prior is None else max(low, prior)
    high = float(values[best + 1])
    return (low + high) / 2 if prior is None or not low <= prior < high else prior


class Smoother:
    """Turns one verdict a window into events: a label must hold to start and be absent to end."""

    def __init__(self, source: str, decisions: Decisions) -> None:
        self._source = source
        self._decisions = decisions
        self._current: _Stretch | None = None
        self._candidate: _Stretch | None = None
        self._started = False

    def push(self, verdict: Verdict, start_s: float, end_s: float) -> list[Event]:
        """Take the next window's verdict, which speaks for `start_s` to `end_s`; the events it causes, in order."""
        current = self._current
        if current and verdict.label == current.label:
            current.extend(verdict, end_s)
            self._candidate = None
            return self._events("update", current, current.last)
        if self._candidate and verdict.label == self._candidate.label:
            self._candidate.extend(verdict, end_s)
        else:
            self._candidate = _Stretch(verdict, start_s, end_s)
        events: list[Event] = []
        if current:
            current.absent += 1
            if current.absent >= self._decisions.exit_windows:
                events += self._events("end", current, current.mean)
                current = self._current = None
        if current is None and self._candidate.windows >= self._decisions.enter_windows:
            events += self._start()
        return events

    def finish(self, end_s: float | None = None) -> list[Event]:
        """The source has ended, at `end_s`: what is still open ends there.

        Where nothing ever held long enough (a source of one window), the last label counts.
        """
        events = [] if self._started or not self._candidate else self._start()
        if self._current:
            if end_s is not None and not self._current.absent:
                self._current.end_s = max(self._current.end_s, end_s)
            events += self._events("end", self._current, self._current.mean)
        self._current = self._candidate = None
        return events

    def _start(self) -> list[Event]:
        assert self._candidate is not None
        self._current, self._candidate, self._started = self._candidate, None, True
        return self._events("start", self._current, self._current.last)

    def _events(
        self, kind: Literal["start", "update", "end"], stretch: _Stretch, figures: tuple[float, float]
    ) -> list[Event]:
        if stretch.label == UNKNOWN and (kind == "update" or not self._decisions.report_unknown):
            return []
        score, margin = figures
        return [Event(kind, stretch.label, score, margin, stretch.start_s, stretch.end_s, self._source)]


class _Stretch:
    """Windows in a row with one label."""

    def __init__(self, verdict: Verdict, start_s: float, end_s: float) -> None:
        self.label = verdict.label
        self.start_s = start_s
        self.end_s = end_s
        self.absent = 0
        self.windows = 0
        self._sums = (0.0, 0.0)
        self.last = (0.0, 0.0)
        self.extend(verdict, end_s)

    def extend(self, verdict: Verdict, end_s: float) -> None:
        self.windows += 1
        self.absent = 0
        self.end_s = end_s
        self.last = (verdict.score, verdict.margin)
        self._sums = (self._sums[0] + verdict.score, self._sums[1] + verdict.margin)

    @property
    def mean(self) -> tuple[float, float]:
        return self._sums[0] / self.windows, self._sums[1] / self.windows
