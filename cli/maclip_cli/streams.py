"""Standard output and error that never fail: printing does not decide whether the work counts.

A character that the encoding lacks is written as an escape; what cannot be written (a full disk, a reader that has
gone) is dropped, and `lost_output` says so afterwards.
"""

from __future__ import annotations

import io
import os
import select
import sys

from maclip_runtime.errors import MaclipError

STDIN, STDOUT, STDERR = 0, 1, 2  # descriptors


class _Forgiving(io.FileIO):
    """A descriptor whose first write that fails is noted; that write and all after it are dropped."""

    problem: OSError | None = None

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        while self.problem is None:
            try:
                written = super().write(view)
            except OSError as error:
                self.problem = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # another program has made the pipe one that does not block
        return len(view)


_stdout: _Forgiving | None = None
_stdout_closed = False
_work_is_done = False


def protect() -> None:
    """Make `sys.stdout` and `sys.stderr` streams that never fail; called once, before anything is printed.

    What the caller has closed (`>&-`) becomes /dev/null: else the next file that is opened would get its number, and
    what is printed would land in that file.
    """
    global _stdout, _stdout_closed
    _stdout_closed = sys.stdout is None
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout, _stdout = _protected(STDOUT, sys.stdout)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr, _ = _protected(STDERR, sys.stderr)


def work_is_done() -> None:
    """From here on lost output is only a warning: what the command was asked for is done, and stays done."""
    global _work_is_done
    _work_is_done = True


def reader_gone() -> bool:
    """Whether the reader of stdout has closed the pipe (`| head`): it wants no more."""
    return _stdout is not None and isinstance(_stdout.problem, BrokenPipeError)


def stdout_closed() -> bool:
    """Whether the caller has closed stdout (`>&-`)."""
    return _stdout_closed


def lost_output() -> MaclipError | None:
    """The error `output-unwritable` if stdout could not take everything; None if it could, or its reader has gone.

    After `work_is_done` it is a warning on stderr instead.
    """
    if _stdout is None:
        return None
    sys.stdout.flush()
    problem = _stdout.problem
    if problem is None or reader_gone():
        return None
    why = f"({problem.strerror or problem})"
    if _work_is_done:
        print(f"warning: what was done is done, but stdout could not be written {why}.", file=sys.stderr)
        return None
    return MaclipError(
        "output-unwritable", f"stdout could not be written {why}.", "Make room where stdout is written to."
    )


def _protected(descriptor: int, before: io.TextIOBase | object) -> tuple[io.TextIOWrapper, _Forgiving]:
    """A stream on the same descriptor, with the encoding and buffering of the one `before`."""
    old = before if isinstance(before, io.TextIOWrapper) else None
    if old is not None:
        old.flush()
    raw = _Forgiving(descriptor, "w", closefd=False)
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old else "utf-8",
        errors="backslashreplace",
        line_buffering=old is None or old.line_buffering,
    )
    return stream, raw
