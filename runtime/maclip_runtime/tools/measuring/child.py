"""A process of its own for each thing that is measured, asked in turn by its parent.

So each has its thread pool, its imports and its memory to itself, one that crashes takes nothing with it, and turns
can go round all of them: what disturbs the machine disturbs all alike.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError

DEBUG_VARIABLE = "MACLIP_DEBUG"
REST_SECONDS = 0.005  # before a turn: threads of the process before it stop spinning
END_SECONDS = 2.0


class ChildFailed(MaclipError):
    """A child could not do its work: `bench-failed`; `why` says in one line what happened."""

    def __init__(self, why: str) -> None:
        fix = f"Run again with {DEBUG_VARIABLE}=1 and look at what it prints."
        super().__init__("bench-failed", f"A process that measures failed: {why}.", fix, EXIT_OUR_FAULT)
        self.why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.why,)


class ChildTooSlow(ChildFailed):
    """A child took longer than it was given."""


class Pipe(Protocol):
    """A body's end of the pipe. `recv` raises `EOFError` where the parent asks no more."""

    def send(self, answer: Any, /) -> None:
        """Answer the parent."""

    def recv(self) -> Any:
        """Wait for what the parent asks next."""


class FreshPipe(Pipe, Protocol):
    """A body's pipe in a process that was just started.

    `begun` is the monotonic clock just before the process was started, `ready` when Python was ready in it.
    """

    begun: float
    ready: float


class Child:
    """One process that runs `body(pipe, *arguments)`; a context manager. `facts` is the first thing it sent.

    body: a function of a module, found by its name in the new process. It receives each thing that is asked through
      `pipe` and sends an answer; what it returns, if anything, is sent last.
    arguments: passed on; they must be picklable.
    limit_s: seconds that each answer may take; None (default) for no limit.

    Raises the `MaclipError` that `body` raised, `ChildTooSlow`, and `ChildFailed` for anything else, the process's own
    death included.
    """

    def __init__(self, body: Callable[..., object], *arguments: Any, limit_s: float | None = None) -> None:
        content = pickle.dumps(arguments)  # before a process is started that an error would leave behind
        self._limit_s = limit_s
        # With MACLIP_DEBUG=1 the child's messages are seen, else only the last line of one that dies.
        self._said = None if os.environ.get(DEBUG_VARIABLE) == "1" else tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", f"{__package__}.bare"]
        begun = time.monotonic()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._ask, self._answers = self._process.stdin, self._process.stdout
        try:
            self._send((begun, sys.path, _module_of(body), body.__qualname__, content))
            self.facts = self._answer()
        except BaseException:
            self.close()
            raise

    def turn(self, work: Any) -> Any:
        """Ask for `work` and wait for the answer."""
        time.sleep(REST_SECONDS)
        self._send(work)
        return self._answer()

    def close(self) -> None:
        """End the process: it holds nothing that is to be kept."""
        with suppress(OSError):  # it may be gone already
            self._ask.close()  # which it takes as the end
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        if self._said is not None:
            self._said.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, what: Any) -> None:
        with suppress(OSError):  # it is gone: `_answer` says why
            self._ask.write(pickle.dumps(what))
            self._ask.flush()

    def _answer(self) -> Any:
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._limit_s, end) if self._limit_s is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            answer = pickle.load(self._answers)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            if late.is_set():
                raise ChildTooSlow(f"it took longer than {self._limit_s:g} s") from error
            raise ChildFailed(self._cause_of_death()) from error
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process closed its pipe"
        if hasattr(signal, "SIGKILL") and code == -signal.SIGKILL:
            return f"its process ended with exit code {code}: killed, as a system does that runs out of memory"
        last = ""
        if self._said is not None:
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process ended with exit code {code}" + (f": {last[:300]}" if last else "")


def run_alone(body: Callable[..., Any], *arguments: Any, limit_s: float | None = None) -> Any:
    """What `body(pipe, *arguments)` returns in a fresh process. Raises as `Child` does."""
    with Child(body, *arguments, limit_s=limit_s) as child:
        return child.facts


class Servant(Protocol):
    """An object that does turns in a child. `facts` is sent once, when it is ready."""

    facts: Any

    def turn(self, work: Any, /) -> Any:
        """Do once what is asked."""


def serve(pipe: Pipe, make: Callable[..., Servant], *arguments: Any) -> None:
    """The body of a child that holds `make(*arguments)`: `Child(serve, make, *arguments)`."""
    servant = make(*arguments)
    pipe.send(servant.facts)
    while True:
        pipe.send(servant.turn(pipe.recv()))


def _module_of(body: Callable[..., object]) -> str:
    """The module in which the child finds `body`, also where this process runs it as a command (`python -m`)."""
    if body.__module__ != "__main__":
        return body.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        raise ValueError(f"{body.__qualname__} lies in a script: run that with python -m")
    name: str = spec.name
    return name
