"""A rotated file of lines: whole lines only, whatever happens."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from maclip_runtime.errors import MaclipError

TAIL_BYTES = 1 << 20  # how much of a file is searched for its last line break


class RotatingFile:
    """A file of lines for one writer. A failed write leaves no partial line; what a kill left is cut off."""

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
        self._size = 0
        try:
            self._open()
        except OSError as error:
            raise unwritable(path, str(error.strerror or error)) from error

    def append(self, line: bytes) -> None:
        """Write a line that ends in a line break. On OSError the file stays as it was."""
        if self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None
        try:
            write_whole(self._descriptor, line)
        except OSError:
            with suppress(OSError):  # a device has no size; the first error is the one to report
                os.ftruncate(self._descriptor, self._size)
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
        """Rename the files by one number. A kill in between leaves a gap in the numbers, and nothing else."""
        self.close()
        for number in range(self._keep - 1, 0, -1):
            if (older := self._aside(number)).exists():
                os.replace(older, self._aside(number + 1))
        os.replace(self.path, self._aside(1))
        self._size = 0

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


def _lock(descriptor: int, path: Path) -> None:
    """Exclude other writers: two would rotate each other's file."""
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
    """Cut off a last line without a line break; returns the file's size. Raises `output-unwritable`."""
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
