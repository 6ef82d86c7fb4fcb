"""How a watch ends on SIGTERM, which stops services, and on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maclip_runtime import Callbacks, Frame, SourceStatus
from maclip_runtime.interrupts import deferred


@contextmanager
def ended_politely() -> Iterator[Callbacks]:
    """Callbacks that end their watch with KeyboardInterrupt between two frames, once either signal has come.

    A source without frames reports its status every second, so it takes a second at most. While cameras are still
    being opened, before the first frame or status, a signal ends the program at once.
    """
    ending = _Ending()
    with deferred(lambda: ending.begun) as asked:
        ending.asked = asked
        yield ending
        if asked():  # came after the last frame: all is finished, but the exit code says that it was asked to end
            raise KeyboardInterrupt


class _Ending(Callbacks):
    def __init__(self) -> None:
        self.begun = False
        self.asked: Callable[[], bool] = lambda: False

    def frame(self, source: str, frame: Frame) -> None:
        self._look()

    def status(self, status: SourceStatus) -> None:
        self._look()

    def _look(self) -> None:
        self.begun = True
        if self.asked():
            raise KeyboardInterrupt
