"""Progress of the demo on stderr: a line for each step, bars below it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from maclip_cli.console import people

Update = Callable[[str, int, int], None]  # (description, done, total)


@dataclass(frozen=True)
class Step:
    """One step of the demo and its duration in seconds."""

    name: str
    seconds: float


class Screen:
    """Progress bars and messages on stderr, and the durations of the steps. A context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console or people(),
        )
        self.steps: list[Step] = []

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text, soft_wrap=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of the demo; its duration is recorded when it succeeds."""
        number = len(self.steps) + 1
        self.say(f"[bold]{number}. {name}[/bold]")
        begun = time.monotonic()
        yield
        self.steps.append(Step(name, time.monotonic() - begun))

    @contextmanager
    def bar(self) -> Iterator[Update]:
        """A progress bar for several activities in sequence; yields a callback for (description, done, total)."""
        task: TaskID = self._progress.add_task("", total=None)
        shown = ""

        def update(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:
                self._progress.reset(task)
                shown = what
            self._progress.update(task, description=f"   {what}", completed=done, total=total)

        try:
            yield update
        finally:
            self._progress.remove_task(task)
