"""Progress bars and messages on stderr."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from maclip.training.callbacks import Callbacks, Step
from maclip_cli.console import people

SMOOTHING = 0.98  # exponential, of the shown loss and accuracy


class Bars(Callbacks):
    """Progress bars on stderr, and the callbacks that show a training. A context manager.

    console: where the bars are drawn; default: stderr.
    prefix: put before each bar's name and each message.
    """

    def __init__(self, console: Console | None = None, prefix: str = "") -> None:
        self.console = console or people()
        self.prefix = prefix
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._smooth: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a message above the bars."""
        self._progress.console.print(self.prefix + escape(text), soft_wrap=True)  # a clip's path may have brackets

    def progress(self, name: str) -> Callable[[int, int], None]:
        """Add a bar; the returned function updates it with (done, total)."""
        task = self._task(name, None)

        def update(done: int, total: int) -> None:
            self._progress.update(task, completed=done, total=total)

        return update

    def step(self, step: Step) -> None:
        """Show a training step: smoothed loss and accuracy."""
        loss, accuracy = self._smooth.get(step.stage, (step.loss, step.accuracy))
        loss = SMOOTHING * loss + (1 - SMOOTHING) * step.loss
        accuracy = SMOOTHING * accuracy + (1 - SMOOTHING) * step.accuracy
        self._smooth[step.stage] = loss, accuracy
        name = "training TPCM" if step.stage == "prototype" else "training all"
        task = self._task(name, step.episodes)
        self._progress.update(task, completed=step.episode, figures=f"loss {loss:.3f} accuracy {accuracy:.1%}")

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Print the accuracy on validation classes."""
        self.note(f"episode {episode}: validation {accuracy:.1%} ± {interval:.1%}")

    def _task(self, name: str, total: int | None) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(self.prefix + name, total=total, figures="")
        return self._tasks[name]
