"""The answer to one clip: which class, "unknown" or "uncertain"; and where "unknown" begins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maclip_runtime.decisions import Decisions, Verdict, judge
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
        {"enter_score": math.nan},
        {"exit_score": 0.6, "enter_score": 0.5},
        {"smoothing_s": -1.0},
        {"min_duration_s": math.inf},
        {"cooldown_s": math.nan},
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
