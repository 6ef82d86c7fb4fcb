"""A process for each runner, asked in turn by its parent.

So each has its thread pool and its memory to itself, a library that falls over takes nothing with it, and turns can go
round all runners: what disturbs the machine disturbs all alike.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from maclip_runtime.errors import MaclipError

REST_SECONDS = 0.005  # before a turn: threads of the runner before it stop spinning
END_SECONDS = 5.0
KIB = 1024


class Servant(Protocol):
    """What a worker holds. `facts` is sent once, when it is ready."""

    facts: Any

    def turn(self, work: str) -> Any:
        """Do what is asked once."""


class WorkerFailed(Exception):
    """A worker could not do its work; the message says why in one line."""


class Worker:
    """One process that runs `make(*arguments)`, a `Servant`; a context manager. `facts` is what it said when ready.

    `make` is found by name in the new process. Raises the `MaclipError` that `make` raised, and `WorkerFailed` for
    anything else, the process's own death included.
    """

    def __init__(self, make: Callable[..., Servant], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
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
            raise WorkerFailed(f"its process is gone ({error.strerror})") from error
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # which it takes as the end
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def __enter__(self) -> Worker:
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
            raise WorkerFailed(f"its process ended with exit code {self._process.exitcode}") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def resident_mib() -> float | None:
    """This process's resident memory now, in MiB; None where the system does not say."""
    return _status("VmRSS")


def peak_resident_mib() -> float | None:
    """The most that was resident since the process began, in MiB.

    Not `getrusage`: what it calls a process's peak begins with that of the process that started it.
    """
    return _status("VmHWM")


def _status(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [float(line.split()[1]) / KIB for line in lines if line.startswith(f"{key}:")]
    return found[0] if found else None


def _serve(pipe: Connection, make: Callable[..., Servant], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    logging.disable(logging.WARNING)  # torch's compiler remarks on what it does not find
    try:
        servant = make(*arguments)
        pipe.send(servant.facts)
        while True:
            pipe.send(servant.turn(pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MaclipError as error:
        pipe.send(error)
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        pipe.send(WorkerFailed(f"{type(error).__name__}: {said}"[:300]))
