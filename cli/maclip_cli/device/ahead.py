"""How far files have been watched, for a progress bar."""

from __future__ import annotations

from collections.abc import Callable

from maclip_runtime import Callbacks, Frame


class Ahead(Callbacks):
    """Calls `update` with the seconds of all sources that have been watched."""

    def __init__(self, update: Callable[[float], None]) -> None:
        self._update = update
        self._seconds: dict[str, float] = {}

    def frame(self, source: str, frame: Frame) -> None:
        """Add what has been read of a source."""
        self._seconds[source] = frame.time_s
        self._update(sum(self._seconds.values()))
