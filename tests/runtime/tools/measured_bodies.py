"""Bodies for tests of measuring children, in a module of its own: a process that imports it starts at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.child import FreshPipe, Pipe
from maclip_runtime.tools.measuring.memory import peak_resident_mib, resident_mib

LARGE_BYTES = 200 * 2**20


class Large:
    """Takes much memory and gives it back; then dies or complains, as asked."""

    def __init__(self) -> None:
        before = resident_mib()
        np.ones(LARGE_BYTES, np.uint8).sum()
        peak, after = peak_resident_mib(), resident_mib()
        assert before is not None
        assert peak is not None
        assert after is not None
        self.facts = peak - before, after - before

    def turn(self, work: str) -> str:
        if work == "die":
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            os._exit(7)
        if work == "complain":
            raise MaclipError("name", "A sentence.", "A fix.")
        if work == "stumble":
            raise ValueError("too bad\nfor words")
        if work == "chat":
            print("on standard output")
            os.write(1, b"and below Python")
        return work


def end_it(pipe: Pipe) -> None:
    """Ends as the system ends a process for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(pipe: Pipe, seconds: float) -> str:
    """Answers late."""
    time.sleep(seconds)
    return "awake"


def clock(pipe: FreshPipe) -> tuple[float, float]:
    """When the process was started, and when Python was ready in it."""
    return pipe.begun, pipe.ready


def process(pipe: Pipe) -> tuple[int, Any]:
    """Its number and what Ctrl-C does to it."""
    return os.getpid(), signal.getsignal(signal.SIGINT) == signal.SIG_IGN
