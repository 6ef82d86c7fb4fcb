"""What a person sees while the demo runs, on stderr: a line for each thing that is done, a bar for each family."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Update = Callable[[str, int, int], None]  # what is done, how much of it, of how much


@dataclass(frozen=True)
class Step:
    """One part of the demo and how long it took, in seconds."""

    name: str
    seconds: float


class Screen:
    """Bars and lines on stderr, and the times of the steps. A context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console or Console(stderr=True, highlight=False),
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
        """A line above the bars."""
        self._progress.console.print(text, soft_wrap=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A part of the demo begins; its time is kept when it ends well."""
        number = len(self.steps) + 1
        self.say(f"[bold]{number}. {name}[/bold]")
        begun = time.monotonic()
        yield
        self.steps.append(Step(name, time.monotonic() - begun))

    @contextmanager
    def bar(self, prefix: str) -> Iterator[Update]:
        """A bar that shows one thing after another, while it is needed."""
        task: TaskID = self._progress.add_task(prefix, total=None)
        shown = ""

        def update(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:
                self._progress.reset(task)
                shown = what
            self._progress.update(task, description=f"{prefix}: {what}", completed=done, total=total)

        try:
            yield update
        finally:
            self._progress.remove_task(task)
