"""The metrics log of a run: `metrics.jsonl` and optionally TensorBoard, with every update and validation."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from maclip.runs import METRICS_FILE
from maclip.training.callbacks import Step
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_DIR = "tensorboard"


class MetricsLog:
    """Appends updates and validations to RUN/metrics.jsonl, one JSON object a line. Raises `output-unwritable`.

    Call `begin` first: it truncates the log to the checkpoint that a training resumes from.

    run: the run folder.
    before: episodes of the prototype stage, the offset of the joint stage in TensorBoard.
    tensorboard: also write scalars to RUN/tensorboard.
    """

    def __init__(self, run: Path, before: int, tensorboard: bool) -> None:
        self.path, self.before = run / METRICS_FILE, before
        self._tensorboard = _tensorboard() if tensorboard else None
        self._scalars: SummaryWriter | None = None
        self._last = (0, 0.0)  # episodes and time of the last step

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, size: int, stage: str = "prototype", episode: int = 0) -> None:
        """Truncate the log to `size` bytes, which end with `episode` of `stage`, and append from there."""
        if self.size > size:
            os.truncate(self.path, size)
        if self._tensorboard is not None:
            folder, purge = self.path.parent / TENSORBOARD_DIR, self._place(stage, episode) + 1
            self._scalars = self._tensorboard(str(folder), purge_step=purge)
        self._last = (self._place(stage, episode), time.monotonic())

    def step(self, step: Step) -> None:
        """Write an update."""
        self._append(asdict(step))
        place, now = self._place(step.stage, step.episode), time.monotonic()
        if self._scalars is not None:
            rate = (place - self._last[0]) / max(1e-9, now - self._last[1])
            facts = {"loss": step.loss, "accuracy": step.accuracy, "learning_rate": step.learning_rate}
            for name, value in {**facts, "episodes_per_second": rate}.items():
                self._scalars.add_scalar(f"{step.stage}/{name}", value, place)
        self._last = place, now

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Write a validation: accuracy 0..1 and the half-width of its 95 % interval."""
        self._append({"stage": stage, "episode": episode, "validation": accuracy, "interval": interval})
        if self._scalars is not None:
            self._scalars.add_scalar(f"{stage}/validation", accuracy, self._place(stage, episode))
        self._last = self._last[0], time.monotonic()  # exclude validation from episodes per second

    def chosen(self, facts: dict[str, object]) -> None:
        """Write the values chosen at the end of the training."""
        self._append(facts)

    def close(self) -> None:
        """Flush and close TensorBoard's file."""
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
                f"Free disk space, then maclip train --resume {self.path.parent}.",
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
