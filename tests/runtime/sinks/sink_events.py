"""Events for sinks, and waiting for what a sink's own thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

from maclip_runtime.decisions import Event


def event(number: int, kind: str = "start", label: str = "waving") -> Event:
    return Event(kind, label, 0.5, 0.25, 0.0, float(number), "camera", at=1.0)  # type: ignore[arg-type]


def wait_for(reached: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
