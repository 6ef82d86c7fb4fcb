"""Checkpoints in `state/` of a run: everything needed to resume, in one file that is replaced atomically."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from maclip.model.maclip import MaClip
from maclip.runs import STATE_DIR
from maclip.writing import replacing
from maclip_runtime.errors import MaclipError

STATE_FILE = "last.safetensors"
WEIGHTS, MOMENTS = "weights/", "moments/"


@dataclass(frozen=True)
class Progress:
    """Progress of a training.

    stage, episode: `episode` episodes of `stage` are done.
    best: the best accuracy of the validations of this stage.
    stale: validations of this stage since its best.
    validated: False if a validation is due at this point but not done.
    logged: size of `metrics.jsonl`, bytes.
    scaler: state of the gradient scaler (fp16).
    broken: paths of training clips that could not be read.
    """

    stage: str
    episode: int
    best: float
    stale: int = 0
    validated: bool = True
    logged: int = 0
    scaler: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Saved:
    """A loaded checkpoint: progress, tuned tensors, and optimizer moments by "parameter index.name"."""

    progress: Progress
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]

    def load_moments(self, optimizer: torch.optim.Optimizer) -> None:
        """Load the saved moments into `optimizer`."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.moments.items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class Checkpoint:
    """The last consistent state of a training: set by `reached`, written by `save`."""

    def __init__(self, run: Path, model: MaClip) -> None:
        self.path = run / STATE_DIR / STATE_FILE
        self.model = model
        self._progress: Progress | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def reached(self, progress: Progress, optimizer: torch.optim.Optimizer) -> None:
        """Mark the current weights as a consistent state with this progress; nothing is written."""
        self._progress, self._optimizer = progress, optimizer

    def leaving(self) -> None:
        """An update starts: until the next `reached`, `save` does nothing."""
        self._progress = None

    def save(self) -> None:
        """Write the checkpoint, replacing the previous one atomically. Raises `output-unwritable`."""
        if self._progress is None or self._optimizer is None:
            return
        tensors = {WEIGHTS + key: value for key, value in self.model.tuned_state().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"{MOMENTS}{index}.{key}": value for key, value in state.items()}
        progress = json.dumps(dataclasses.asdict(self._progress))
        with replacing(self.path) as path:
            path.write_bytes(save(_plain(tensors), {"progress": progress}))

    def load(self) -> Saved | None:
        """The last checkpoint, or None. Raises `run-invalid`."""
        for folder in (self.path.parent, self.path.parent.parent):
            for leftover in folder.glob(".*.tmp"):  # of a process that was killed while writing
                leftover.unlink(missing_ok=True)
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                found = Progress(**json.loads(file.metadata()["progress"]))
                keys: list[str] = file.keys()
                tensors = {key: file.get_tensor(key) for key in keys}
        except Exception as error:
            raise _invalid(self.path) from error
        parts = [{k.removeprefix(p): v for k, v in tensors.items() if k.startswith(p)} for p in (WEIGHTS, MOMENTS)]
        return Saved(found, *parts)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}


def _invalid(path: Path) -> MaclipError:
    return MaclipError(
        "run-invalid",
        f"{path} is not a checkpoint that this version can resume from.",
        "Train again into another folder.",
    )
