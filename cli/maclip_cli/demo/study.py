"""Train and evaluate the families in parallel, each in its own process: threads would block each other (GIL)."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.plan import FULL, FamilyPlan, Plan
from maclip_cli.demo.rows import FamilyOutcome, RowCallbacks, run_family
from maclip_cli.demo.screen import Screen, Update
from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError

if TYPE_CHECKING:
    from maclip.training.callbacks import Step

MESSAGE_SECONDS = 0.2  # between two progress messages
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0  # for a terminated process to exit
STAGES = {"prototype": "training TPCM", "joint": "training everything"}


@dataclass(frozen=True)
class Progressed:
    """Progress of an activity."""

    family: str
    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Noted:
    """A message to print."""

    family: str
    text: str


@dataclass(frozen=True)
class Finished:
    """A family is done or failed: exactly one of `outcome`, `error` and `fault` (a traceback) is set."""

    family: str
    outcome: FamilyOutcome | None = None
    error: MaclipError | None = None
    fault: str | None = None


def run_families(plan: Plan, folder: DemoFolder, screen: Screen) -> dict[str, FamilyOutcome]:
    """Train and evaluate all families of `plan` in parallel; returns outcomes by family. Raises their errors."""
    spawn = multiprocessing.get_context("spawn")  # forking a process in which torch has threads may hang
    messages: Any = spawn.Queue()
    threads = max(1, (os.cpu_count() or 1) // len(plan.families))
    processes: dict[str, BaseProcess] = {
        one.family: spawn.Process(target=_work, args=(plan, one, folder.root, threads, messages), daemon=True)
        for one in plan.families
    }
    with ExitStack() as stack:
        bars = {family: stack.enter_context(screen.bar(family)) for family in processes}
        try:
            for process in processes.values():
                process.start()
            return _collect(processes, messages, bars, screen)
        finally:
            for process in processes.values():
                if process.is_alive():
                    process.terminate()
                    process.join(GRACE_SECONDS)
                    process.kill()


def run_path(folder: DemoFolder, plan: Plan, family: str, row: str) -> Path:
    """The run folder of a row: `run` for the exported one, in `runs` for the others."""
    exported = family == plan.families[0].family and row == FULL
    return folder.run if exported else folder.runs / f"{family}-{row}"


def _collect(
    processes: dict[str, BaseProcess], messages: Any, bars: dict[str, Update], screen: Screen
) -> dict[str, FamilyOutcome]:
    outcomes: dict[str, FamilyOutcome] = {}
    while len(outcomes) < len(processes):
        try:
            message = messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            _require_alive({name: p for name, p in processes.items() if name not in outcomes})
            continue
        if isinstance(message, Progressed):
            bars[message.family](message.what, message.done, message.total)
        elif isinstance(message, Noted):
            screen.say(f"   {message.family}: {message.text}")
        elif isinstance(message, Finished):
            if message.error is not None:
                raise message.error
            if message.outcome is None:
                raise RuntimeError(f"training {message.family} failed:\n{message.fault}")
            outcomes[message.family] = message.outcome
    return {family: outcomes[family] for family in processes}  # in the order of the plan


def _require_alive(processes: dict[str, BaseProcess]) -> None:
    for family, process in processes.items():
        # A process that exited with 0 has sent its last message, which has not arrived yet.
        if process.exitcode not in (None, 0):
            raise MaclipError(
                "demo-failed",
                f"The process that trained {family} was killed (exit code {process.exitcode}).",
                "The usual cause is too little memory: close other programs and run the demo again.",
                EXIT_OUR_FAULT,
            )


def _work(plan: Plan, family: FamilyPlan, root: Path, threads: int, messages: Any) -> None:
    """The main function of the process of one family."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    import torch

    torch.set_num_threads(threads)
    folder = DemoFolder(root)
    callbacks = _Sender(family.family, messages)
    try:
        outcome = run_family(
            plan,
            family,
            folder.clips / family.family,
            lambda row: run_path(folder, plan, family.family, row),
            callbacks,
        )
        messages.put(Finished(family.family, outcome))
    except MaclipError as error:
        messages.put(Finished(family.family, error=error))
    except KeyboardInterrupt:
        pass  # training raises it on SIGTERM, which the parent sent
    except Exception:
        messages.put(Finished(family.family, fault=traceback.format_exc()))


class _Sender(RowCallbacks):
    """Callbacks that send messages to the parent, at most a few times per second."""

    def __init__(self, family: str, messages: Any) -> None:
        self._family = family
        self._messages = messages
        self._row = ""
        self._sent_at = 0.0

    def begin(self, row: str) -> None:
        self._row = row

    def note(self, text: str) -> None:
        self._messages.put(Noted(self._family, f"{self._row}: {text}"))

    def progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._send(what, done, total)

    def step(self, step: Step) -> None:
        self._send(STAGES[step.stage], step.episode, step.episodes)

    def _send(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._sent_at >= MESSAGE_SECONDS or done >= total:
            self._sent_at = now
            self._messages.put(Progressed(self._family, f"{self._row}, {what}", done, total))
