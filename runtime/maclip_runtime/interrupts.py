"""Defer SIGINT and SIGTERM until no lock is held and nothing is half written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred(begun: Callable[[], bool] = lambda: True) -> Iterator[Callable[[], bool]]:
    """Defer SIGINT and SIGTERM within the block; the yielded function says whether one has arrived.

    Python may raise KeyboardInterrupt between any two instructions, even between a `with` taking its lock and the code
    that would release it. A second signal raises KeyboardInterrupt at once, and so does the first while `begun()` is
    False. Signals that were ignored (by a shell's `&`) stay ignored. Outside the main thread it does nothing.
    """
    arrived: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if arrived or not begun():
            raise KeyboardInterrupt
        arrived.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # None: installed by a program that embeds Python; Python could not restore it.
    replaced = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in replaced:
        signal.signal(number, remember)
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM raises KeyboardInterrupt as Ctrl-C does, so that `finally` blocks clean up.

    Only in the main thread, and only where SIGTERM has its default handler; else it does nothing.
    """
    has_default = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if has_default:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if has_default:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
