"""What people are told of a sink that cannot deliver: each problem once, with its reason, and when it works again."""

from __future__ import annotations

import logging
import math
import threading
import time

log = logging.getLogger("maclip")

QUIET_SECONDS = 60.0  # a problem that comes and goes is told at most once in this time


class Health:
    """Whether a sink delivers. Logs each problem of a disturbance once, and its end; any thread may call it.

    name: the sink's, without credentials.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}  # when each problem was last logged (`time.monotonic`)
        self._since: float | None = None  # when the present disturbance began; None: it works
        self._logged = False  # whether anything of the present disturbance was logged

    @property
    def troubled(self) -> bool:
        """Whether it does not deliver at present."""
        return self._since is not None

    def fails(self, problem: str) -> None:
        """Note a problem, for instance "cannot deliver (Connection refused), trying again"."""
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since, self._logged = now, False
            if self._told.get(problem, -math.inf) >= min(self._since, now - QUIET_SECONDS):
                return
            self._told[problem] = now
            self._logged = True
        log.warning("%s: %s", self._name, problem)

    def works(self, words: str = "delivering again") -> None:
        """Note that it delivers: the disturbance is over, if there was one."""
        with self._lock:
            logged = self._since is not None and self._logged
            self._since = None
        if logged:
            log.info("%s: %s", self._name, words)
