"""A process for each runner, asked in turn by its parent."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from maclip.bench.child import Child
from maclip.bench.child import ChildFailed as WorkerFailed

__all__ = ["Servant", "Worker", "WorkerFailed", "peak_resident_mib", "resident_mib"]

KIB = 1024


class Servant(Protocol):
    """What a worker holds. `facts` is sent once, when it is ready."""

    facts: Any

    def turn(self, work: str) -> Any:
        """Do what is asked once."""


class Worker(Child):
    """One process that runs `make(*arguments)`, a `Servant`; `facts` is what it said when ready.

    `make` is found by name in the new process. Raises the `MaclipError` that `make` raised, and `WorkerFailed` for
    anything else, the process's own death included.
    """

    def __init__(self, make: Callable[..., Servant], *arguments: Any) -> None:
        super().__init__(_serve, make, *arguments)


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


def _serve(pipe: Connection, make: Callable[..., Servant], *arguments: Any) -> None:
    servant = make(*arguments)
    pipe.send(servant.facts)
    while True:
        pipe.send(servant.turn(pipe.recv()))
