"""95 % intervals of shares and rates from few samples, without scipy."""

from __future__ import annotations

import math
from collections.abc import Callable

Z = 1.959964  # 95 %, both sides
TAIL = 0.025  # on each side
STEPS = 200  # halvings: far beyond a float's precision

Interval = tuple[float, float]


def share_interval(hits: int, count: int) -> Interval | None:
    """Wilson's interval of a share, 0..1; None without samples.

    >>> share_interval(0, 3)
    (0.0, 0.5615...)
    """
    if not count:
        return None
    share, square = hits / count, Z * Z
    centre = share + square / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    scale = 1 + square / count
    low = 0.0 if not hits else (centre - half) / scale
    high = 1.0 if hits == count else (centre + half) / scale
    return low, high


def count_interval(count: int) -> Interval:
    """The exact (Garwood) interval of a Poisson mean of which `count` was seen.

    >>> [round(bound, 2) for bound in count_interval(0)], [round(bound, 2) for bound in count_interval(3)]
    ([0.0, 3.69], [0.62, 8.77])
    """
    high = _solve(lambda mean: _at_most(count, mean), TAIL, count)
    low = _solve(lambda mean: _at_most(count - 1, mean), 1 - TAIL, count) if count else 0.0
    return low, high


def _at_most(count: int, mean: float) -> float:
    """P(X <= count) of a Poisson variable."""
    if mean == 0:
        return 1.0
    return min(1.0, math.fsum(math.exp(i * math.log(mean) - mean - math.lgamma(i + 1)) for i in range(count + 1)))


def _solve(falling: Callable[[float], float], value: float, count: int) -> float:
    low, high = 0.0, 10.0 + 4.0 * count
    for _ in range(STEPS):
        middle = (low + high) / 2
        if falling(middle) > value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
