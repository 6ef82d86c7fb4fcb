"""Latency: the time from the newest frame of a window to the answer."""

from __future__ import annotations

import time


class AnswerTimes:
    """Measures the latency of answers, by source."""

    def __init__(self) -> None:
        self._taken: dict[str, float] = {}

    def taken(self, source: str) -> None:
        """Note that a frame of `source` has just been taken."""
        self._taken[source] = time.monotonic()

    def answered(self, source: str) -> float | None:
        """Seconds since the last frame of `source` was taken; None where none was."""
        taken = self._taken.get(source)
        return None if taken is None else time.monotonic() - taken
