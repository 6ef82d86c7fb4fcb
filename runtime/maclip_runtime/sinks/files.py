"""JSON Lines on stdout and in a file that is rotated: whole lines only, whatever happens."""

from __future__ import annotations

import errno
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.sinks.base import Refused, Sink

ROTATE_BYTES = 10_000_000  # at which a file is set aside
KEPT_FILES = 5  # set aside, beside the one that is written
STDOUT_EVENTS = 100_000  # may wait for a slow reader, about 30 MB
TAIL_BYTES = 1 << 20  # a last line is looked for in so much of a file

log = logging.getLogger("maclip")


class StdoutSink(Sink):
    """JSON Lines on stdout. Closing waits for a slow reader; `gone` once the reader has closed the pipe."""

    close_s = None

    def __init__(self) -> None:
        self.gone = False
        super().__init__("stdout", STDOUT_EVENTS)

    def _deliver(self, line: bytes) -> None:
        if self.gone:
            return  # `| head` has seen enough: nothing is lost that anyone wanted
        try:
            if os.isatty(1):
                sys.stdout.write(line.decode())  # a status line can make way for it
                sys.stdout.flush()
            else:
                # Not sys.stdout: its lock, held by a thread that hangs in a full pipe, would hang the exit too.
                write_whole(1, line)
        except BrokenPipeError:
            self.gone = True
        except OSError as error:
            if self._deadline is None:
                raise
            raise Refused(str(error)) from error  # at the end nobody makes room on a full disk: not to wait for ever


class FileSink(Sink):
    """JSON Lines in a file, set aside at `max_bytes` as PATH.1, PATH.2, … of which `keep` are kept.

    Raises `output-unwritable`.
    """

    def __init__(self, path: Path, max_bytes: int = ROTATE_BYTES, keep: int = KEPT_FILES) -> None:
        self._file = RotatingFile(path, max_bytes, keep)
        super().__init__(str(path))

    def _deliver(self, line: bytes) -> None:
        self._file.append(line)

    def _let_go(self, deadline: float) -> None:
        try:
            self._file.close()
        except OSError as error:
            log.warning("%s: the disk may not hold the last lines (%s)", self.name, error.strerror)


class RotatingFile:
    """A file of lines for one writer. A write that fails leaves no half line; one torn by a kill is cut off next time.

    Raises `output-unwritable` where it cannot be opened, holds something else, or another program writes it.
    """

    def __init__(self, path: Path, max_bytes: int = ROTATE_BYTES, keep: int = KEPT_FILES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None
        self._size = 0
        try:
            self._open()
        except OSError as error:
            raise unwritable(path, str(error.strerror or error)) from error

    def append(self, line: bytes) -> None:
        """Write a line that ends in a line break. Raises OSError, and leaves the file as it was."""
        if self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None
        try:
            write_whole(self._descriptor, line)
        except OSError:
            with suppress(OSError):  # a device, which has no size; its own error counts
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        """Write through to the disk and close. Raises OSError where the disk did not take all; it is closed anyway."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # /dev/null and its like have no disk
                raise
        finally:
            os.close(descriptor)

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            _lock(descriptor, self.path)
            self._size = _repair(descriptor, self.path)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _rotate(self) -> None:
        """Set the file aside. Killed in between, a number is missing and nothing else."""
        self.close()
        for number in range(self._keep - 1, 0, -1):
            if (older := self._aside(number)).exists():
                os.replace(older, self._aside(number + 1))
        os.replace(self.path, self._aside(1))
        self._size = 0

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of `data`; raises OSError, by when a part may be written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def unwritable(path: Path, why: str) -> MaclipError:
    """The error `output-unwritable` for `path`."""
    return MaclipError("output-unwritable", f"{path} cannot be written ({why}).", "Give another file, or make room.")


def _lock(descriptor: int, path: Path) -> None:
    """Keep other writers out: two would rotate the file under each other."""
    try:
        import fcntl
    except ImportError:
        return  # not on Windows
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise unwritable(path, "another program is writing it") from None
    except OSError:
        return  # a file system or device without locks


def _repair(descriptor: int, path: Path) -> int:
    """Cut off a last line without its end; the file's size then."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0
    start = max(0, size - TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    if os.pread(descriptor, 1, 0) != b"{" or (start and b"\n" not in tail):
        raise unwritable(path, "it holds something other than JSON Lines")
    whole = start + tail.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(descriptor, whole)
    return whole
