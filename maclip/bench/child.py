"""A process of its own for each thing that is measured, asked in turn by its parent.

So each has its thread pool and its memory to itself, one that falls over takes nothing with it, and turns can go round
all of them: what disturbs the machine disturbs all alike.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeVar

from maclip_runtime.errors import MaclipError

REST_SECONDS = 0.005  # before a turn: threads of the process before it stop spinning
END_SECONDS = 2.0

Some = TypeVar("Some", bound="Child")


class ChildFailed(Exception):
    """A child could not do its work; the message says why in one line."""


class Child:
    """One process that runs `body(pipe, *arguments)`; a context manager. `facts` is the first thing it said.

    `body` is found by name in the new process; it answers each thing that comes through the pipe and takes the pipe's
    end as its own. Raises the `MaclipError` that `body` raised, and `ChildFailed` for anything else, the process's own
    death included.
    """

    def __init__(self, body: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, body, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.facts = self._answer()
        except BaseException:
            self.close()
            raise

    def turn(self, work: str) -> Any:
        """Ask for `work` and wait for what came of it."""
        time.sleep(REST_SECONDS)
        try:
            self._pipe.send(work)
        except OSError as error:
            raise ChildFailed(f"its process is gone ({error.strerror})") from error
        return self._answer()

    def close(self) -> None:
        """End the process: it holds nothing that is to be kept."""
        self._pipe.close()  # which it takes as the end
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self: Some) -> Some:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(END_SECONDS)
            code = self._process.exitcode
            killed = ": killed, as a system does that runs out of memory" if code == -signal.SIGKILL else ""
            raise ChildFailed(f"its process ended with exit code {code}{killed}") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def _run(pipe: Connection, body: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    logging.disable(logging.WARNING)  # torch's compiler remarks on what it does not find
    try:
        body(pipe, *arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MaclipError as error:
        pipe.send(error)
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        pipe.send(ChildFailed(f"{type(error).__name__}: {said}"[:300]))
