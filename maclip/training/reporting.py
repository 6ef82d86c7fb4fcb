"""What a training says while it goes: who may watch it, `metrics.jsonl` and, where asked, TensorBoard."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from maclip.runs import METRICS_FILE
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_DIR = "tensorboard"


@dataclass(frozen=True)
class Step:
    """One optimiser update: mean `loss` and `accuracy` (0..1, of p) over its episodes. `stage`: prototype or joint."""

    stage: str
    episode: int
    episodes: int
    loss: float
    accuracy: float
    learning_rate: float


class Watcher(Protocol):
    """What wants to see training go: a progress bar, a test."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A part of the work with a known size begins: call the result with (done, total)."""

    def step(self, step: Step) -> None:
        """An update was made."""

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Validation classes were tried."""


class Unwatched:
    """The watcher of the processes that do not lead."""

    def note(self, text: str) -> None:
        """Not said."""

    def progress(self, what: str) -> Callable[[int, int], None]:
        """Not shown."""
        return lambda done, total: None

    def step(self, step: Step) -> None:
        """Not shown."""

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Not shown."""


class Journal:
    """Writes what happens in the run folder `run`, a line of JSON each. Raises `output-unwritable`.

    `begin` first: it drops what an interrupted training wrote after the state it goes on from. TensorBoard's
    steps are episodes, those of the joint stage counted on from the `before` episodes of the first.
    """

    def __init__(self, run: Path, before: int, tensorboard: bool) -> None:
        self.path, self.before = run / METRICS_FILE, before
        self._tensorboard = _tensorboard() if tensorboard else None
        self._scalars: SummaryWriter | None = None
        self._last = (0, 0.0)  # episodes and time of the last step

    @property
    def size(self) -> int:
        """Bytes written so far: what a saved state knows of."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, size: int, stage: str = "prototype", episode: int = 0) -> None:
        """Keep the first `size` bytes, which end with `episode` of `stage`, and go on behind them."""
        if self.size > size:
            os.truncate(self.path, size)
        if self._tensorboard is not None:
            folder, purge = self.path.parent / TENSORBOARD_DIR, self._place(stage, episode) + 1
            self._scalars = self._tensorboard(str(folder), purge_step=purge)
        self._last = (self._place(stage, episode), time.monotonic())

    def step(self, step: Step) -> None:
        """An update was made."""
        self._append(asdict(step))
        place, now = self._place(step.stage, step.episode), time.monotonic()
        if self._scalars is not None:
            rate = (place - self._last[0]) / max(1e-9, now - self._last[1])
            facts = {"loss": step.loss, "accuracy": step.accuracy, "learning_rate": step.learning_rate}
            for name, value in {**facts, "episodes_per_second": rate}.items():
                self._scalars.add_scalar(f"{step.stage}/{name}", value, place)
        self._last = place, now

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Validation classes were tried."""
        self._append({"stage": stage, "episode": episode, "validation": accuracy, "interval": interval})
        if self._scalars is not None:
            self._scalars.add_scalar(f"{stage}/validation", accuracy, self._place(stage, episode))
        self._last = self._last[0], time.monotonic()  # episodes a second are those of training alone

    def chosen(self, facts: dict[str, object]) -> None:
        """What was chosen at the end."""
        self._append(facts)

    def close(self) -> None:
        """TensorBoard's file is written out."""
        if self._scalars is not None:
            self._scalars.close()

    def _append(self, row: dict[str, object]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise MaclipError(
                "output-unwritable",
                f"{self.path} cannot be written ({error.strerror}).",
                f"Free the disk; then maclip train --resume {self.path.parent}.",
            ) from error

    def _place(self, stage: str, episode: int) -> int:
        return episode + (self.before if stage == "joint" else 0)


def _tensorboard() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MaclipError(
            "tensorboard-missing",
            "TensorBoard is not installed.",
            "pip install 'maclip[tensorboard]', or train without --tensorboard.",
            EXIT_MACHINE_LACKS,
        ) from error
    return SummaryWriter
