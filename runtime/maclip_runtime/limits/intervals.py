"""95 % intervals of shares, rates and means from few samples, without scipy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Z = 1.959964  # 95 %, both sides
TAIL = 0.025  # on each side
TINY = 1e-18  # of a sum of squares: values that differ by rounding only
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


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of a mean; None for fewer than two values, or if all are equal: then nothing is known of it.

    >>> [round(bound, 1) for bound in mean_interval([1.0, 2.0, 3.0])]
    [-0.5, 4.5]
    """
    count = len(values)
    mean = math.fsum(values) / max(1, count)
    squares = math.fsum((value - mean) ** 2 for value in values)
    if count < 2 or squares < TINY * (1 + mean * mean):
        return None
    half = _student(count - 1) * math.sqrt(squares / (count - 1) / count)
    return mean - half, mean + half


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; beyond two degrees of freedom by Cornish and Fisher's series, to 1 %."""
    if freedom <= 2:
        return (12.706, 4.303)[freedom - 1]
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
    )
    return Z + sum(term / freedom**power for power, term in enumerate(terms, 1))


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
