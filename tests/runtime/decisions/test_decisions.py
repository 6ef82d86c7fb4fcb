"""The answer to one clip: which class, "unknown" or "uncertain"; and where "unknown" begins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maclip_runtime.decisions import Answer, Classification, Decisions, Verdict, judge, match_of
from maclip_runtime.decisions.verdict import nothing_seen
from maclip_runtime.errors import MaclipError
from maclip_runtime.limits.measured import best_limit

NAMES = ("a", "b")


def judged(distances: list[float], probabilities: list[float], limit: float = math.inf, **others: float) -> Verdict:
    far, likely = (np.array(values, np.float32) for values in (distances, probabilities))
    limits = np.full(len(far), limit, np.float32)
    return judge(far, likely, NAMES[: len(far)], limits, Decisions(**others))  # type: ignore[arg-type]


def test_likeliest_class_wins() -> None:
    verdict = judged([2.0, 1.0], [0.2, 0.8])
    assert (verdict.label, verdict.unknown, verdict.reason) == ("b", False, "")
    assert (verdict.score, verdict.distance, verdict.margin) == pytest.approx((0.8, 1.0, 0.6))


def test_far_or_unlikely_is_unknown_for_a_reason() -> None:
    far = judged([2.0, 1.0], [0.2, 0.8], limit=0.9)
    assert (far.label, far.nearest, far.reason, far.unknown) == ("unknown", "b", "distance", True)
    assert judged([2.0, 1.0], [0.2, 0.8], limit=1.0).label == "b"
    unlikely = judged([2.0, 1.0], [0.2, 0.8], min_score=0.81)
    assert (unlikely.label, unlikely.reason) == ("unknown", "score")
    assert judged([math.nan, math.nan], [0.5, 0.5], limit=1.0).label == "unknown"


def test_near_tie_is_uncertain() -> None:
    tie = judged([2.0, 1.0], [0.45, 0.55], min_margin=0.2)
    assert (tie.label, tie.nearest, tie.reason, tie.unknown) == ("uncertain", "b", "margin", False)
    assert judged([2.0, 1.0], [0.35, 0.65], min_margin=0.2).label == "b"
    assert judged([2.0, 1.0], [0.45, 0.55], min_margin=0.2, min_score=0.6).label == "unknown"


def test_each_class_has_its_own_limit() -> None:
    limits = np.array([3.0, 0.5], np.float32)
    for likely, label in (([0.9, 0.1], "a"), ([0.1, 0.9], "unknown")):
        verdict = judge(np.array([2.0, 1.0], np.float32), np.array(likely, np.float32), NAMES, limits, Decisions())
        assert verdict.label == label


def test_one_class_is_judged_by_distance() -> None:
    assert judged([0.5], [1.0], limit=1.0).label == "a"
    assert judged([1.5], [1.0], limit=1.0).label == "unknown"
    assert judged([0.5], [1.0]).margin == 1.0


@pytest.mark.parametrize(
    "numbers",
    [
        {"min_score": 1.1},
        {"min_margin": -0.1},
        {"min_duration_s": -1.0},
        {"min_duration_s": math.inf},
        {"gap_s": math.nan},
        {"limit": math.nan},
    ],
)
def test_impossible_numbers_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(MaclipError) as refused:
        Decisions(**numbers)  # type: ignore[arg-type]
    assert refused.value.code == "decisions-invalid"
    assert next(iter(numbers)) in str(refused.value)


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
def test_best_limit(own: list[float], others: list[float], prior: float | None, expected: float | None) -> None:
    assert best_limit(own, others, prior) == expected


DISTANCES = [-math.inf, -1e30, -8.4, -1.0, -1e-9, 0.0, 0.5, 0.9, 0.90001, 1.0, 9.0, 40.0, 1e30, math.inf]


@pytest.mark.parametrize("limit", [-3.5, 0.0, 0.9, 1e9, -math.inf, math.inf, None])
def test_match_falls_with_distance_and_is_half_at_the_limit(limit: float | None) -> None:
    matches = [match_of(distance, limit) for distance in DISTANCES]
    assert matches == sorted(matches, reverse=True)
    assert all(0 <= match <= 1 for match in matches)
    free = limit is None or limit == math.inf
    for distance, match in zip(DISTANCES, matches, strict=True):
        accepted = free or distance <= limit  # type: ignore[operator]
        assert match >= 0.5 if accepted else match <= 0.5
    if not free:
        assert match_of(limit, limit) == 0.5  # type: ignore[arg-type]
    assert len(set(matches)) > 5 or limit in (1e9, -math.inf)


def test_match_of_what_was_not_measured_is_zero() -> None:
    assert match_of(math.nan, 1.0) == match_of(1.0, math.nan) == 0.0
    assert nothing_seen("still").match == 0.0


def test_match_is_the_probability_against_a_stranger_at_the_limit() -> None:
    weights = np.exp(-np.array([0.3, 0.9]))
    assert match_of(0.3, 0.9) == pytest.approx(weights[0] / weights.sum())


def test_verdict_and_clip_have_the_same_match() -> None:
    limits = np.array([3.0, 0.5], np.float32)
    far, likely = np.array([2.0, 0.25], np.float32), np.array([0.1, 0.9], np.float32)
    verdict = judge(far, likely, NAMES, limits, Decisions())
    clip = Classification.of(Answer(NAMES, far, likely, limits), Decisions(), source="a", duration_s=1.0)
    assert verdict.match == clip.match == clip.matches["b"] == match_of(0.25, 0.5)
    assert clip.matches["a"] == match_of(2.0, 3.0)
    unknown = judge(np.array([2.0, 0.75], np.float32), likely, NAMES, limits, Decisions())
    assert unknown.match == match_of(0.75, 0.5) < 0.5
