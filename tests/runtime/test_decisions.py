"""When an answer is "unknown", where that distance lies, and when events start and end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maclip_runtime.decisions import Decisions, Event, Smoother, Verdict, judge, unknown_distance

NAMES = ("a", "b")


def judged(distances: list[float], probabilities: list[float], limit: float = math.inf, **others: float) -> Verdict:
    far, likely = (np.array(values, np.float32) for values in (distances, probabilities))
    limits = np.full(len(far), limit, np.float32)
    return judge(far, likely, NAMES[: len(far)], limits, Decisions(**others))  # type: ignore[arg-type]


def test_likeliest_class_wins() -> None:
    verdict = judged([2.0, 1.0], [0.2, 0.8])
    assert (verdict.label, verdict.unknown) == ("b", False)
    assert (verdict.score, verdict.distance, verdict.margin) == pytest.approx((0.8, 1.0, 0.6))


def test_far_or_unsure_is_unknown() -> None:
    assert judged([2.0, 1.0], [0.2, 0.8], limit=0.9).label == "unknown"
    assert judged([2.0, 1.0], [0.2, 0.8], limit=1.0).label == "b"
    assert judged([2.0, 1.0], [0.2, 0.8], min_score=0.81).label == "unknown"
    assert judged([math.nan, math.nan], [0.5, 0.5], limit=1.0).label == "unknown"
    assert judged([2.0, 1.0], [0.2, 0.8], limit=0.9).nearest == "b"


def test_one_class_is_judged_by_distance() -> None:
    assert judged([0.5], [1.0], limit=1.0).label == "a"
    assert judged([1.5], [1.0], limit=1.0).label == "unknown"
    assert judged([0.5], [1.0]).margin == 1.0


@pytest.mark.parametrize(
    ("own", "others", "prior", "expected"),
    [
        ([], [], None, None),
        ([], [], 3.0, 3.0),
        ([1, 2], [4, 6], None, 3.0),  # the middle of the gap
        ([1, 2], [4, 6], 2.5, 2.5),  # a prior in the gap
        ([1, 2], [4, 6], 9.0, 3.0),  # a prior the gallery contradicts
        ([-5, -4], [-2, -1], None, -3.0),  # OTAM's distances may be negative
        ([1, 2, 3, 9], [4, 5, 6, 7], None, 3.5),  # one outlier is given up
        ([5, 6, 7], [1, 2, 3], None, 7.0),  # not separable: accept one's own
        ([1, 6, 9], [1, 2, 3], 6.5, 6.5),  # or as the prior says, where it accepts most of them
        ([5, 6, 7], [1, 2, 3], 5.5, 7.0),
        ([], [4, 5, 9], None, 5.0),
        ([], [4, 5, 9], 20.0, 9.0),
        ([], [4, 5, 9], 3.0, 3.0),
        ([1, 2], [], None, 2.0),
        ([1, 2], [], 5.0, 5.0),
        ([1, 2], [], 1.0, 2.0),
    ],
)
def test_unknown_distance(own: list[float], others: list[float], prior: float | None, expected: float | None) -> None:
    assert unknown_distance(own, others, prior) == expected


def run(labels: str, **settings: object) -> list[Event]:
    """One verdict for each letter ("-" is unknown), one second each."""
    smoother = Smoother("cam", Decisions(**settings))  # type: ignore[arg-type]
    events = []
    for second, letter in enumerate(labels):
        label = "unknown" if letter == "-" else letter
        events += smoother.push(Verdict(label, letter, 0.5, 1.0, 0.1), second, second + 1)
    return events + smoother.finish(len(labels))


def spans(events: list[Event]) -> list[tuple[str, float, float]]:
    return [(event.label, event.start_s, event.end_s) for event in events if event.kind == "end"]


def test_events_follow_the_labels() -> None:
    events = run("aaabbb")
    assert [(event.kind, event.label) for event in events] == [
        ("start", "a"),
        ("update", "a"),
        ("end", "a"),
        ("start", "b"),
        ("update", "b"),
        ("end", "b"),
    ]
    assert spans(events) == [("a", 0, 3), ("b", 3, 6)]
    assert events[0].source == "cam"


def test_one_odd_window_changes_nothing() -> None:
    assert spans(run("aabaa")) == [("a", 0, 5)]
    assert spans(run("aa-aa")) == [("a", 0, 5)]


def test_flicker_starts_nothing() -> None:
    assert spans(run("--abab--", report_unknown=False)) == []


def test_unknown_is_reported_without_updates() -> None:
    events = run("---aa--")
    assert [(event.kind, event.label) for event in events if event.label == "unknown"] == [
        ("start", "unknown"),
        ("end", "unknown"),
    ] * 2
    assert spans(events) == [("unknown", 0, 3), ("a", 3, 5), ("unknown", 5, 7)]
    assert spans(run("---aa--", report_unknown=False)) == [("a", 3, 5)]


def test_single_window_counts() -> None:
    assert spans(run("a")) == [("a", 0, 1)]


def test_enter_and_exit_are_settings() -> None:
    assert spans(run("abba", enter_windows=1, exit_windows=1)) == [("a", 0, 1), ("b", 1, 3), ("a", 3, 4)]
    assert spans(run("aabba", enter_windows=3, report_unknown=False, exit_windows=1)) == [("a", 4, 5)]


def test_end_has_the_mean_score() -> None:
    smoother = Smoother("cam", Decisions())
    for second, score in enumerate([0.4, 0.6, 0.8]):
        smoother.push(Verdict("a", "a", score, 1.0, score), second, second + 1)
    (end,) = smoother.finish()
    assert (end.score, end.margin) == pytest.approx((0.6, 0.6))
