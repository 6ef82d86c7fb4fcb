"""What a running watch may be told from another thread: its grid, each source's region, and to stop."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from maclip_runtime.sources import Roi
from maclip_runtime.streaming.windows import Grid


class Control:
    """The wishes of whoever runs a watch; they count from its next turn on. Safe to use from several threads.

    grid: where windows lie.
    regions: by source, the part of its picture that is looked at; sources without one are looked at whole.
    """

    def __init__(self, grid: Grid, regions: Mapping[str, Roi] | None = None) -> None:
        self.grid = grid
        self._regions = dict(regions or {})
        self._stop = threading.Event()

    def region(self, source: str) -> Roi | None:
        """The part of a source's picture that is looked at; None for all of it."""
        return self._regions.get(source)

    def set_region(self, source: str, roi: Roi | None) -> None:
        """Look at this part of a source's picture; None for all of it. What is open in it ends."""
        regions = {name: one for name, one in self._regions.items() if name != source}
        self._regions = regions if roi is None else {**regions, source: roi}

    def stop(self) -> None:
        """End the watch, with the events of what is open."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()
