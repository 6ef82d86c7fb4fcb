"""Ctrl-C and a polite kill wait for a place where nothing is half done: no half saved step, no lock left taken."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred(begun: Callable[[], bool] = lambda: True) -> Iterator[Callable[[], bool]]:
    """Within, SIGINT and SIGTERM are remembered: what is yielded says whether one came.

    Python raises KeyboardInterrupt between any two instructions, also in the one moment in which a `with` has taken
    its lock and would not give it back. A second signal does raise it, for whoever cannot wait, and so does the first
    while it has not `begun`. A signal that was ignored (a shell's `&`) stays so; outside the main thread nothing is
    changed.
    """
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if came or not begun():
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # None: set by a program that embeds Python, which alone could set it again.
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, remember)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


@contextmanager
def undoing() -> Iterator[None]:
    """Within, a polite kill raises KeyboardInterrupt as Ctrl-C does, so that what was half made is removed.

    Only where SIGTERM would end the process at once, and in the main thread; else nothing is changed.
    """
    at_once = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if at_once:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if at_once:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
