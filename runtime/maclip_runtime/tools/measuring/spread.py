"""What repeated measurements come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The median over rounds, and the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From one value a round."""
        return cls(*(round(float(value), 5) for value in (np.median(values), min(values), max(values))))


@dataclass(frozen=True)
class Times:
    """Milliseconds of `count` turns: the best, and percentiles. Of fewer than 100 turns, p99 is nearly the worst."""

    best: float
    p50: float
    p90: float
    p99: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """From the seconds of one or more turns."""
        found = (min(seconds), *np.percentile(seconds, (50, 90, 99)))
        best, p50, p90, p99 = (round(float(value) * 1e3, 4) for value in found)
        return cls(best, p50, p90, p99, len(seconds))
