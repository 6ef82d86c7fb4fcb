"""From near windows to happenings: neighbouring windows of one action are one result."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from maclip_runtime.archive.search import Ranking, Searcher
from maclip_runtime.archive.view import View


@dataclass
class Happening:
    """One result: the best window's row and distance, how many windows show it, and from when to when it lasts."""

    row: int
    distance: float
    first: int  # the number of its first window
    last: int
    start_s: float
    end_s: float

    @property
    def windows(self) -> int:
        """How many windows show it."""
        return self.last - self.first + 1


def happenings(view: View, searcher: Searcher, ranking: Ranking, top: int, reach_s: float) -> list[Happening]:
    """The `top` nearest happenings, the nearest first.

    A happening grows from its best window over its neighbours that are nearer to the best distance than to the typical
    one. Windows that overlap it belong to no other happening.

    reach_s: how far an action reaches beyond the parts of the video that its windows stand for.
    """
    found: list[Happening] = []
    taken = np.zeros(len(view), np.bool_)
    for row, distance in zip(ranking.rows.tolist(), ranking.distances.tolist(), strict=True):
        if len(found) == top:
            break
        if taken[row]:
            continue
        limit = (distance + ranking.typical) / 2 if math.isfinite(ranking.typical) else distance
        lower, upper = (_grown(view, searcher, row, step, limit, taken) for step in (-1, 1))
        found.append(_happening(view, row, distance, lower, upper, reach_s))
        _take(view, taken, lower, upper)
    return found


def _grown(view: View, searcher: Searcher, row: int, step: int, limit: float, taken: np.ndarray) -> int:
    """The last row in one direction that still shows the happening."""
    while True:
        beside = row + step
        if not _follows(view, row, beside) or taken[beside]:
            return row
        if float(searcher.measure(np.array([beside], np.int64))[0]) > limit:
            return row
        row = beside


def _follows(view: View, row: int, beside: int) -> bool:
    """Whether two rows are neighbours in one video, with no loss between them."""
    if not 0 <= beside < len(view) or view.video[beside] != view.video[row] or view.video[row] < 0:
        return False
    later = max(row, beside)
    lost = view.videos[int(view.video[row])].lost
    return bool(abs(view.number[beside] - view.number[row]) == 1) and int(view.number[later]) not in lost


def _happening(view: View, row: int, distance: float, lower: int, upper: int, reach_s: float) -> Happening:
    end_s = view.videos[int(view.video[row])].record.end_s
    start = max(float(view.times[lower, 0]), float(view.times[lower, 2]) - reach_s)
    end = min(float(view.times[upper, 1]), float(view.times[upper, 3]) + reach_s, math.inf if end_s is None else end_s)
    return Happening(row, distance, int(view.number[lower]), int(view.number[upper]), start, max(start, end))


def _take(view: View, taken: np.ndarray, lower: int, upper: int) -> None:
    """Mark the windows of a happening, and those that share half of their time with them."""
    taken[lower : upper + 1] = True
    start_s, end_s = float(view.times[lower, 0]), float(view.times[upper, 1])
    for start, step in ((lower, -1), (upper, 1)):
        row = start
        while _follows(view, row, row + step):
            row += step
            middle = float(view.times[row, :2].mean())
            if not start_s <= middle <= end_s:
                break
            taken[row] = True
