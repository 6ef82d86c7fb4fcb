"""JSON Lines on stdout."""

from __future__ import annotations

import json
import os
import select
import stat
import sys

from maclip_runtime.sinks.base import Refused, Sink
from maclip_runtime.sinks.options import DEFAULTS, SinkOptions
from maclip_runtime.sinks.registry import sink

MAX_WAITING_EVENTS = 100_000  # for a slow reader, about 30 MB
STDOUT = 1  # the descriptor
WAIT_SECONDS = 0.5  # for a reader whose pipe does not block, before it is tried again


@sink(matches=lambda uri: uri == "-", forms=("-",))
class StdoutSink(Sink):
    """JSON Lines on stdout, opened as `-`. Closing waits for a slow reader; `gone` once the reader closed the pipe.

    Whole lines only: of a line that is written in part, the rest follows before anything else. A file takes back the
    part.
    """

    close_s = None

    def __init__(self, uri: str = "-", options: SinkOptions = DEFAULTS) -> None:
        self.gone = False
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # a status line puts itself before it later
        self._rest = b""  # of a line that was written in part
        self._line = b""  # the one that `_rest` belongs to
        super().__init__("stdout", capacity=MAX_WAITING_EVENTS)

    def deliver(self, line: bytes) -> None:
        """Write one line. Raises OSError, and `Refused` when closing on a full disk."""
        if self.gone:
            return  # `| head` has read enough: nothing is lost that anyone wanted
        try:
            if os.isatty(STDOUT):
                # A status line in the terminal can make room for it.
                sys.stdout.write(_shown(line, self._encoding))
                sys.stdout.flush()
            else:
                # Not sys.stdout: its lock, held by a thread that is blocked by a full pipe, would block the exit too.
                self._write(line)
        except BrokenPipeError:
            self.gone = True
        except OSError as error:
            if self._deadline is None:
                raise
            raise Refused(str(error)) from error  # when closing, nobody makes room on a full disk: do not wait for ever

    def _write(self, line: bytes) -> None:
        """Write what is left of the line before, if another one is begun, and the line or what is left of it."""
        if self._rest and line is not self._line:
            self._write_rest()
        if not self._rest:
            self._line = self._rest = line
        try:
            self._write_rest()
        except OSError:
            if len(self._rest) == len(line) or _taken_back(len(line) - len(self._rest)):
                self._rest = b""
            raise

    def _write_rest(self) -> None:
        while self._rest:
            try:
                self._rest = self._rest[os.write(STDOUT, self._rest) :]
            except BlockingIOError:  # another program has made the pipe one that does not block
                select.select([], [STDOUT], [], WAIT_SECONDS)


def _shown(line: bytes, encoding: str) -> str:
    """The line as JSON that a terminal of any encoding can show."""
    text = line.decode()
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(json.loads(text)) + "\n"
    return text


def _taken_back(count: int) -> bool:
    """Cut the last `count` bytes off stdout, where it is a file; whether that was done."""
    try:
        if not stat.S_ISREG(os.fstat(STDOUT).st_mode):
            return False
        end = os.lseek(STDOUT, 0, os.SEEK_CUR)
        if end != os.fstat(STDOUT).st_size:  # something else has been written behind it
            return False
        os.ftruncate(STDOUT, end - count)
        os.lseek(STDOUT, end - count, os.SEEK_SET)
    except OSError:
        return False
    return True
