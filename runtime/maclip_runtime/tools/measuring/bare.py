"""The child's side of `measuring.child`: a Python process that notes the time before it imports anything heavy.

    python -m maclip_runtime.tools.measuring.bare

Reads from standard input what to run, and answers on standard output, both in pickles. Whatever the code that is
measured prints goes to standard error.
"""

from __future__ import annotations

import time

READY = time.monotonic()

import logging  # noqa: E402
import os  # noqa: E402
import pickle  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from functools import reduce  # noqa: E402
from importlib import import_module  # noqa: E402
from typing import Any, BinaryIO  # noqa: E402


class Pipe:
    """The child's end of the pipe. `begun` and `ready`: when the process was started, and when Python was ready.

    Both are of the monotonic clock, which all processes of a machine share.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO, begun: float, ready: float) -> None:
        self._reader, self._writer = reader, writer
        self.begun, self.ready = begun, ready

    def send(self, answer: Any) -> None:
        """Answer the parent."""
        self._writer.write(pickle.dumps(answer))
        self._writer.flush()

    def recv(self) -> Any:
        """Wait for what the parent asks next. Raises `EOFError` where it asks no more."""
        return pickle.load(self._reader)


def main() -> None:
    """Run what the parent asks for; send what it returns, or how it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    logging.disable(logging.WARNING)  # torch's compiler remarks on what it does not find
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    begun, sys.path[:], module, name, arguments = pickle.load(reader)
    pipe = Pipe(reader, writer, begun, READY)
    from maclip_runtime.errors import MaclipError

    try:
        body: Any = reduce(getattr, name.split("."), import_module(module))
        answer = body(pipe, *pickle.loads(arguments))
        if answer is not None:
            pipe.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MaclipError as error:
        pipe.send(error)
    except Exception as error:
        from maclip_runtime.tools.measuring.child import DEBUG_VARIABLE, ChildFailed

        if os.environ.get(DEBUG_VARIABLE) == "1":
            import traceback

            traceback.print_exception(error)
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        pipe.send(ChildFailed(f"{type(error).__name__}: {said}"[:300]))


if __name__ == "__main__":
    main()
