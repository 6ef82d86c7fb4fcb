"""JSON Lines on stdout."""

from __future__ import annotations

import os
import sys

from maclip_runtime.sinks.base import Refused, Sink
from maclip_runtime.sinks.options import DEFAULTS, SinkOptions
from maclip_runtime.sinks.registry import sink
from maclip_runtime.sinks.rotating_file import write_whole

MAX_WAITING_EVENTS = 100_000  # for a slow reader, about 30 MB


@sink(matches=lambda uri: uri == "-", forms=("-",))
class StdoutSink(Sink):
    """JSON Lines on stdout, opened as `-`. Closing waits for a slow reader; `gone` once the reader closed the pipe."""

    close_s = None

    def __init__(self, uri: str = "-", options: SinkOptions = DEFAULTS) -> None:
        self.gone = False
        super().__init__("stdout", capacity=MAX_WAITING_EVENTS)

    def deliver(self, line: bytes) -> None:
        """Write one line. Raises OSError, and `Refused` when closing on a full disk."""
        if self.gone:
            return  # `| head` has read enough: nothing is lost that anyone wanted
        try:
            if os.isatty(1):
                sys.stdout.write(line.decode())  # a status line in the terminal can make room for it
                sys.stdout.flush()
            else:
                # Not sys.stdout: its lock, held by a thread that is blocked by a full pipe, would block the exit too.
                write_whole(1, line)
        except BrokenPipeError:
            self.gone = True
        except OSError as error:
            if self._deadline is None:
                raise
            raise Refused(str(error)) from error  # when closing, nobody makes room on a full disk: do not wait for ever
