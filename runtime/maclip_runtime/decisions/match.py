"""A match between 0 and 1: what people read instead of a distance, whose scale differs from bundle to bundle."""

from __future__ import annotations

import math


def match_of(distance: float, limit: float | None) -> float:
    """How well a distance fits a class, 0 to 1: more than 0.5 within the limit, 0.5 at it, less beyond it.

    The probability of the class against a stranger as far away as the limit, with probabilities as the classes have
    them, softmax of the negative distances: 1 / (1 + e^(distance - limit)). It falls as the distance grows, and is
    0.5 or more exactly where the limit accepts. Without a limit, which accepts everything, it lies between 0.5 and 1:
    0.5 + 0.5 / (1 + e^distance).

    distance: in the metric's own unit, which may be negative.
    limit: the distance above which the answer is "unknown"; None or inf: no limit.

    >>> match_of(0.9, 0.9), round(match_of(-8.4, 0.9), 4), round(match_of(0.0, None), 2)
    (0.5, 0.9999, 0.75)
    """
    if math.isnan(distance) or (limit is not None and math.isnan(limit)):
        return 0.0
    if limit is None or limit == math.inf:
        return 0.5 + 0.5 * _sigmoid(-distance)
    if distance == limit:  # both -inf, else their difference is no number
        return 0.5
    return _sigmoid(limit - distance)


def _sigmoid(value: float) -> float:
    small = math.exp(-abs(value))
    return 1 / (1 + small) if value >= 0 else small / (1 + small)
