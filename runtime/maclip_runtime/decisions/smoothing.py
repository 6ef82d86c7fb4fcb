"""The mean over the latest windows."""

from __future__ import annotations

from collections import deque
from statistics import fmean

import numpy as np

from maclip_runtime.decisions.verdict import INVALID, STILL, Answer


class MovingMean:
    """The mean of each class's distance and probability over the windows that ended in the last `seconds`.

    Both are averaged because both decide, and both are noisy; the mean of probabilities still sums to one. The mean is
    plain, not exponential, so what was seen longer ago than `seconds` cannot hold a new action back. Answers are kept
    by class name, so classes may come and go.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: deque[tuple[float, Answer]] = deque()
        self._now_s = 0.0

    def push(self, answer: Answer, end_s: float) -> Answer:
        """Take the next window's answer, which stands until `end_s`; the mean over it and the kept ones.

        A window that is still or invalid was not measured and does not count; its answer is returned if no other is
        left.
        """
        self._now_s = end_s
        if answer.missing not in (STILL, INVALID):
            self._kept.append((end_s, answer))
        while self._kept and self._kept[0][0] <= end_s - max(self._seconds - 1e-6, 1e-6):
            self._kept.popleft()
        if not self._kept:
            return answer
        newest = self._kept[-1][1]
        same = all(kept.names == newest.names for _, kept in self._kept)
        if len(self._kept) == 1 or not newest.names:
            return newest
        if same:
            distances = np.mean([kept.distances for _, kept in self._kept], axis=0)
            probabilities = np.mean([kept.probabilities for _, kept in self._kept], axis=0)
        else:
            distances, probabilities = (
                np.array([_mean_of(name, field, self._kept) for name in newest.names], np.float32)
                for field in ("distances", "probabilities")
            )
        return Answer(newest.names, distances, probabilities, newest.limits)

    @property
    def lag_s(self) -> float:
        """How far the middle of what is averaged lies behind the newest window, in seconds."""
        return self._now_s - fmean(end_s for end_s, _ in self._kept) if self._kept else 0.0

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def _mean_of(name: str, field: str, kept: deque[tuple[float, Answer]]) -> float:
    values = [getattr(answer, field)[answer.names.index(name)] for _, answer in kept if name in answer.names]
    return float(np.mean(values))
