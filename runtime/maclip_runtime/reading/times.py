"""Times of pictures, from their stamps: they never go back, and one wrong stamp is wrong for its picture alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

# A stamp that goes back further than this starts another recording (files that were joined); less is disorder.
JUMP_SECONDS = 0.5

Item = TypeVar("Item")


def timed(stamped: Iterable[tuple[Item, float | None]], step_s: float) -> Iterator[tuple[Item, float]]:
    """Each item with its seconds since the first one. One item is read ahead, to see which of two stamps is wrong.

    stamped: items and their stamps in seconds; None where there is no stamp.
    step_s: seconds from one item to the next where stamps do not say.
    """
    times = Times(step_s)
    waiting: tuple[Item, float | None] | None = None
    for item in stamped:
        if waiting is not None:
            yield waiting[0], times.next(waiting[1], item[1])
        waiting = item
    if waiting is not None:
        yield waiting[0], times.next(waiting[1], None)


def length_s(last_s: float, count: int, step_s: float) -> float:
    """How long `count` pictures last, the last of which begins at `last_s`: it is shown as long as the others."""
    return last_s * count / (count - 1) if count > 1 and last_s > 0 else count * step_s


class Times:
    """The rule behind `timed`, for whoever cannot hand over all items at once."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._zero: float | None = None  # the stamp that counts as time 0
        self._last_s: float | None = None

    def next(self, stamp: float | None, following: float | None) -> float:
        """The time of an item with this stamp; `following` is the stamp of the one after it."""
        if stamp is None or self._zero is None or self._last_s is None:
            time_s = 0.0 if self._last_s is None else self._last_s + self._step_s
            if stamp is not None:
                self._zero = stamp - time_s
        else:
            time_s = stamp - self._zero
            after_s = None if following is None else following - self._zero
            if after_s is not None and after_s > self._last_s and not self._last_s <= time_s <= after_s:
                time_s = (self._last_s + after_s) / 2  # the series goes on as if it were not there
            elif time_s < self._last_s - JUMP_SECONDS:
                time_s = self._last_s + self._step_s
                self._zero = stamp - time_s
        self._last_s = max(time_s, self._last_s or 0.0)
        return self._last_s
