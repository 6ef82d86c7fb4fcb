"""Train and evaluate the rows in two processes: threads would block each other (GIL)."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maclip.shipped import ADAPTERS_ONLY, FULL, PROTOTYPE_ONLY
from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.plan import BRIEF, FROZEN, PARTS, READY, ROWS, Plan, row_name
from maclip_cli.demo.rows import RowCallbacks, RowOutcome, run_rows
from maclip_cli.demo.screen import Screen, Update
from maclip_cli.demo.words import row_title
from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError

if TYPE_CHECKING:
    from maclip.training.callbacks import Step

MESSAGE_SECONDS = 0.2  # between two progress messages
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0  # for a terminated process to exit
STAGES = {"prototype": "training TPCM", "joint": "training"}
# The rows of each process, in order. The full training begins with TPCM's; both processes take about as long.
PROCESSES: Mapping[str, tuple[str, ...]] = {
    "first": (row_name(BRIEF, PROTOTYPE_ONLY), row_name(BRIEF, FULL)),
    "second": (FROZEN, *(row_name(READY, part) for part in PARTS), row_name(BRIEF, ADAPTERS_ONLY)),
}


@dataclass(frozen=True)
class Progressed:
    """Progress of an activity of a process."""

    process: str
    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Noted:
    """A message to print."""

    text: str


@dataclass(frozen=True)
class Finished:
    """A process is done or failed: exactly one of `rows`, `error` and `fault` (a traceback) is set."""

    process: str
    rows: tuple[RowOutcome, ...] | None = None
    error: MaclipError | None = None
    fault: str | None = None


def run_study(plan: Plan, folder: DemoFolder, screen: Screen) -> dict[str, RowOutcome]:
    """Train and evaluate all rows; returns the outcomes by name, in the order of `ROWS`. Raises their errors."""
    spawn = multiprocessing.get_context("spawn")  # forking a process in which torch has threads may hang
    messages: Any = spawn.Queue()
    threads = max(1, (os.cpu_count() or 1) // len(PROCESSES))
    processes: dict[str, BaseProcess] = {
        name: spawn.Process(target=_work, args=(plan, name, rows, folder.root, threads, messages), daemon=True)
        for name, rows in PROCESSES.items()
    }
    with ExitStack() as stack:
        bars = {name: stack.enter_context(screen.bar()) for name in processes}
        try:
            for process in processes.values():
                process.start()
            outcomes = _collect(processes, messages, bars, screen)
        finally:
            for process in processes.values():
                if process.is_alive():
                    process.terminate()
                    process.join(GRACE_SECONDS)
                    process.kill()
    return {name: outcomes[name] for name in ROWS}


def _collect(
    processes: Mapping[str, BaseProcess], messages: Any, bars: Mapping[str, Update], screen: Screen
) -> dict[str, RowOutcome]:
    rows: dict[str, RowOutcome] = {}
    open_ = set(processes)
    while open_:
        try:
            message = messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            _require_alive({name: processes[name] for name in open_})
            continue
        if isinstance(message, Progressed):
            bars[message.process](message.what, message.done, message.total)
        elif isinstance(message, Noted):
            screen.say(f"   {message.text}")
        elif isinstance(message, Finished):
            if message.error is not None:
                raise message.error
            if message.rows is None:
                raise RuntimeError(f"training failed:\n{message.fault}")
            rows |= {row.name: row for row in message.rows}
            open_.remove(message.process)
    return rows


def _require_alive(processes: Mapping[str, BaseProcess]) -> None:
    for name, process in processes.items():
        # A process that exited with 0 has sent its last message, which has not arrived yet.
        if process.exitcode not in (None, 0):
            raise MaclipError(
                "demo-failed",
                f"The {name} process of the training was killed (exit code {process.exitcode}).",
                "The usual cause is too little memory: close other programs and run the demo again.",
                EXIT_OUR_FAULT,
            )


def _work(plan: Plan, name: str, rows: tuple[str, ...], root: Path, threads: int, messages: Any) -> None:
    """The main function of the process `name`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    import torch

    torch.set_num_threads(threads)
    try:
        outcomes = run_rows(plan, DemoFolder(root), rows, _Sender(name, messages))
        messages.put(Finished(name, tuple(outcomes)))
    except MaclipError as error:
        messages.put(Finished(name, error=error))
    except KeyboardInterrupt:
        pass  # training raises it on SIGTERM, which the parent sent
    except Exception:
        messages.put(Finished(name, fault=traceback.format_exc()))


class _Sender(RowCallbacks):
    """Callbacks that send messages to the parent, at most a few times per second."""

    def __init__(self, process: str, messages: Any) -> None:
        self._process = process
        self._messages = messages
        self._row = ""
        self._sent_at = 0.0

    def begin(self, row: str) -> None:
        self._row = row

    def note(self, text: str) -> None:
        self._messages.put(Noted(f"{row_title(self._row)}: {text}"))

    def progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._send(what, done, total)

    def step(self, step: Step) -> None:
        self._send(STAGES[step.stage], step.episode, step.episodes)

    def _send(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._sent_at >= MESSAGE_SECONDS or done >= total:
            self._sent_at = now
            self._messages.put(Progressed(self._process, f"{row_title(self._row)}, {what}", done, total))
