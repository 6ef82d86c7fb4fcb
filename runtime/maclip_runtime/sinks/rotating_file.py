"""A rotated file of lines: whole lines only, whatever happens to the file."""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

from maclip_runtime.errors import MaclipError

log = logging.getLogger("maclip")

TAIL_BYTES = 1 << 20  # how much of a file is searched for its last line break


class RotatingFile:
    """A file of lines for one writer. A failed write leaves no partial line; what a kill left is cut off.

    Another program may move, remove, replace or truncate the file at any time (logrotate, a clean-up): the next line
    goes to the file that is at the path then, which is made if need be. What is no ordinary file (a device, a pipe) is
    only written to.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        """Open the file, or create it.

        path: the file that is written; older ones are PATH.1, PATH.2, ….
        max_bytes: size at which it is rotated.
        keep: how many older files are kept.

        Raises `output-unwritable` where it cannot be opened, holds something else, or another program writes it.
        """
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None
        self._regular = True
        self._size = 0
        self._told = False  # that it cannot be rotated
        try:
            self._open()
        except OSError as error:
            raise unwritable(path, str(error.strerror or error)) from error

    def append(self, line: bytes) -> None:
        """Write a line that ends in a line break. On OSError the file stays as it was, and a later call may succeed."""
        descriptor = self._current()
        if self._regular and self._size and self._size + len(line) > self._max_bytes:
            descriptor = self._rotate()
        try:
            write_whole(descriptor, line)
        except OSError:
            if self._regular:
                with suppress(OSError):  # the first error is the one to report; what is left over is cut off later
                    os.ftruncate(descriptor, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        """Flush to the disk and close. Raises OSError where the disk did not take everything; it is closed anyway."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # /dev/null and the like have no disk
                raise
        finally:
            os.close(descriptor)

    def _current(self) -> int:
        """The descriptor of the file that is at the path now, opened anew if it is not the one that was left."""
        if self._descriptor is not None and not self._as_left(self._descriptor):
            with suppress(OSError):  # the disk of the old file; the new one is what matters
                self.close()
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)  # it was there at the start
            self._open()
        assert self._descriptor is not None
        return self._descriptor

    def _as_left(self, descriptor: int) -> bool:
        if not self._regular:
            return True
        try:
            held, found = os.fstat(descriptor), os.stat(self.path)
        except OSError:  # it was removed, or its disk was unmounted
            return False
        return (found.st_dev, found.st_ino, found.st_size) == (held.st_dev, held.st_ino, self._size)

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            self._size = 0
            if self._regular:
                _lock(descriptor)
                self._size = _repair(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _rotate(self) -> int:
        """Rename the files by one number, and open a new one; the descriptor to write to.

        A kill in between leaves a gap in the numbers, and nothing else. Where a file cannot be renamed, that is logged
        once and the file grows.
        """
        self.close()
        try:
            for number in range(self._keep - 1, 0, -1):
                if (older := self._aside(number)).exists():
                    os.replace(older, self._aside(number + 1))
            os.replace(self.path, self._aside(1))
            self._told = False
        except FileNotFoundError:
            pass  # somebody else has just moved it
        except OSError as error:
            if not self._told:
                log.warning("%s cannot be rotated (%s): it grows", self.path, error.strerror)
            self._told = True
        return self._current()

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of `data`. Raises OSError, after which a part may have been written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def unwritable(path: Path, why: str) -> MaclipError:
    """The error `output-unwritable` for `path`."""
    return MaclipError("output-unwritable", f"{path} cannot be written ({why}).", "Give another file, or make room.")


def _lock(descriptor: int) -> None:
    """Exclude other writers: two would rotate each other's file. Raises OSError."""
    try:
        import fcntl
    except ImportError:
        return  # not on Windows
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another program is writing it") from None
    except OSError:
        return  # a file system without locks


def _repair(descriptor: int) -> int:
    """Cut off a last line without a line break; returns the file's size. Raises OSError where it is no JSON Lines."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0
    start = max(0, size - TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    if os.pread(descriptor, 1, 0) != b"{" or (start and b"\n" not in tail):
        raise OSError(errno.EINVAL, "it holds something other than JSON Lines")
    whole = start + tail.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(descriptor, whole)
    return whole
