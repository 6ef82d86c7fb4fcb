"""A child's body in a module of its own: a process that imports it starts at once."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection


def end_it(pipe: Connection) -> None:
    """Ends as the system ends a process for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
