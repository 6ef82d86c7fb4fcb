"""How long an answer takes from the newest frame it rests on."""

from __future__ import annotations

import time


class AnswerTimes:
    """Notes when frames are taken and answers given, by source."""

    def __init__(self) -> None:
        self._taken: dict[str, float] = {}

    def taken(self, source: str) -> None:
        """A frame was taken from `source` just now."""
        self._taken[source] = time.monotonic()

    def answered(self, source: str) -> float | None:
        """Seconds since the last frame of `source` was taken; None where none was."""
        taken = self._taken.get(source)
        return None if taken is None else time.monotonic() - taken
