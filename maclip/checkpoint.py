"""`state/` of a run: enough to go on after an interruption. Safetensors and JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from maclip.model import MaClip
from maclip.run import STATE_DIR, load_adapters, replacing, write_adapters
from maclip_runtime.errors import MaclipError

WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
PROGRESS_FILE = "progress.json"


@dataclass(frozen=True)
class Begun:
    """How far training came: `episode` episodes of `stage` are done.

    `best_accuracy` is that of all validations, `stage_best` of this stage's, `stale` of which came since that one.
    """

    stage: str
    episode: int
    best_accuracy: float
    stage_best: float = -1.0
    stale: int = 0


class Checkpoint:
    """The last state of a training, in memory until `save` and then on disk."""

    def __init__(self, run: Path, model: MaClip) -> None:
        self.folder = run / STATE_DIR
        self.model = model
        self._begun: Begun | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def reached(self, begun: Begun, optimizer: torch.optim.Optimizer) -> None:
        """Note that an update was made; cheap, nothing is written."""
        self._begun, self._optimizer = begun, optimizer

    def save(self) -> None:
        """Write the state; `progress.json` last, so that it never speaks of files that are not there."""
        if self._begun is None or self._optimizer is None:
            return
        write_adapters(self.folder / WEIGHTS_FILE, self.model)
        moments: dict[str, Tensor] = {}
        for index, state in self._optimizer.state_dict()["state"].items():
            moments |= {f"{index}.{key}": value.detach().cpu().contiguous() for key, value in state.items()}
        with replacing(self.folder / OPTIMIZER_FILE) as path:
            save_file(moments, path)
        with replacing(self.folder / PROGRESS_FILE) as path:
            path.write_text(json.dumps(dataclasses.asdict(self._begun)), encoding="utf-8")

    def load(self) -> Begun | None:
        """Load the tuned tensors and say how far training came; None where nothing was saved."""
        path = self.folder / PROGRESS_FILE
        if not path.is_file():
            return None
        try:
            begun = Begun(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise MaclipError("run-invalid", f"{path} cannot be read.", "Train again into another folder.") from error
        load_adapters(self.model, self.folder / WEIGHTS_FILE)
        return begun

    def load_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Give `optimizer` the moments that were saved for it."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(self.folder / OPTIMIZER_FILE).items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def load_adapters(self, path: Path) -> None:
        """Put the best tuned tensors into the model."""
        load_adapters(self.model, path)
