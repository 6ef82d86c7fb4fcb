"""Events against what happened, and strangers against the known."""

from __future__ import annotations

import numpy as np
import pytest

from maclip.evaluation.streams.open_set import auroc, strangers_passing
from maclip.evaluation.streams.scoring import Scores, Watched, score_events, total
from maclip.segments import Segment
from maclip_runtime.decisions import Decisions

PLAIN = Decisions(gap_s=0)


def watched(labels: str, actions: tuple[Segment, ...]) -> Watched:
    """Windows of one second, one a second, each of which is near to one class of "ab", or to none ("-")."""
    distances = np.array([[0.0 if name == label else 9.0 for name in "ab"] for label in labels], np.float32)
    probabilities = np.where(distances == 0, 0.9, 0.1).astype(np.float32)
    limits = np.ones(2, np.float32)
    starts = np.arange(len(labels), dtype=float)
    return Watched(("a", "b"), limits, distances, probabilities, starts, 1.0, 1.0, float(len(labels)), actions)


def test_found_repeated_and_false_events_are_told_apart() -> None:
    actions = (Segment("a", 1, 4), Segment("b", 6, 8), Segment("b", 9, 10))
    scores = score_events(watched("-a-a--bb--a", actions), PLAIN, 1)
    assert (scores.actions, scores.found, scores.repeated, scores.false_alarms) == (3, 2, 1, 1)
    assert scores.latency_s == (1.0, 1.0)  # known at the end of the first window of it
    assert (scores.precision, scores.recall) == (0.5, pytest.approx(2 / 3))
    assert scores.hours == pytest.approx(11 / 3600)


def test_an_event_of_another_name_is_a_false_alarm() -> None:
    scores = score_events(watched("bb", (Segment("a", 0, 2),)), PLAIN, 1)
    assert (scores.found, scores.false_alarms, scores.f1) == (0, 1, 0)


def test_totals_are_sums() -> None:
    both = total([Scores(2, 1, 0, 3, 0.5, (1.0,)), Scores(1, 1, 1, 0, 0.5, (2.0,))])
    assert both == Scores(3, 2, 1, 3, 1.0, (1.0, 2.0))


def test_auroc_and_strangers_that_pass() -> None:
    known, strangers = np.arange(20.0), np.array([18.0, 18.5, 19.5, 30])
    assert auroc(known, strangers) == pytest.approx(np.mean([18.5, 19, 20, 20]) / 20)
    assert strangers_passing(known, strangers) == 0.25  # 95 % of the known lie at 18 or below
    assert auroc(strangers, strangers) == 0.5
