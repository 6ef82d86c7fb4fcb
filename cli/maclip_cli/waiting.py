"""What people see on stderr while a command works: a bar with the time left, or what is being done and for how long.

Only in a terminal, and not with --quiet; it disappears at the end.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from maclip_cli.console import people

Update = Callable[[float, float | None], None]  # what is done, and all of it; None: not known
COUNTED = re.compile(r"(\d+) of (\d+)")  # "round 3 of 30"


@contextmanager
def bar(name: str) -> Iterator[Update]:
    """A bar with the time left; yields a function that is called with what is done and with all of it.

    Where the whole is not known, what is done counts as seconds and is shown as such.
    """
    console = people()
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.quiet,
        redirect_stdout=sys.stdout.isatty(),
    )
    with shown:
        task = shown.add_task(escape(name), total=None)

        def update(done: float, total: float | None) -> None:
            if total is None:
                shown.update(task, description=escape(f"{name}: {done:.0f} s"))
            else:
                shown.update(task, completed=done, total=max(total, 1e-9))

        yield update


class Left:
    """Says how much time is left from texts that count, such as "round 3 of 30"."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[str, int, float] | None = None

    def __call__(self, text: str) -> str:
        """The text, with the time left where it can be told."""
        counted = COUNTED.search(text)
        if counted is None:
            return text
        number, total, now = int(counted[1]), int(counted[2]), self._clock()
        kind = f"{text[: counted.start()]} {total}"
        if self._first is None or self._first[0] != kind or number <= self._first[1]:
            self._first = kind, number, now
            return text
        each = (now - self._first[2]) / (number - self._first[1])
        return f"{text}, {_clock(each * (total - number + 1))} left"


@contextmanager
def doing(text: str) -> Iterator[Callable[[str], None]]:
    """A line with what is being done, for how long, and the time left where a text counts; yields how to change it."""
    console = people()
    left = Left()
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.quiet,
    )
    with shown:
        task: TaskID = shown.add_task(escape(text), total=None)
        yield lambda what: shown.update(task, description=escape(left(what)))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
