"""How watching ends when it is asked to: by SIGTERM, which is how services are stopped, or Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maclip_runtime import Frame, Listener
from maclip_runtime.interrupts import deferred
from maclip_runtime.sources import SourceStatus


@contextmanager
def ended_politely() -> Iterator[Listener]:
    """A listener that ends its watch with KeyboardInterrupt between two frames, once either signal came.

    A source without frames reports its status every second, so that is how long it may take. Before the first of
    either, while cameras are being opened, a signal ends things at once.
    """
    ending = _Ending()
    with deferred(lambda: ending.begun) as asked:
        ending.asked = asked
        yield ending
        if asked():  # came after the last frame: all is finished, and who asked is told so
            raise KeyboardInterrupt


class _Ending(Listener):
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
