"""A training that `torchrun` starts on one of several machines: `host_child.py DATA RUN CHANGES DIES_AT`.

CHANGES are to the training, as JSON. DIES_AT: the episode at which this machine loses all its processes, -1: none. A
run that is there is resumed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from small_clip import small_backbone
from test_trainer import MODEL, TRAIN, Silent

from maclip.config import Machine
from maclip.runs import CONFIG_FILE
from maclip.training import api, choosing
from maclip.training.episode_loader import Batch
from maclip.training.optimizer import Optimizer
from maclip_runtime.errors import MaclipError


def main(data: Path, run: Path, changes: dict[str, object], dies_at: int) -> None:
    api.load_backbone = lambda name, pretrained, **_: small_backbone()  # type: ignore[assignment]
    choosing.CHOOSING_EPISODES = 50
    accumulate = Optimizer.accumulate

    def dying(self: Optimizer, batch: Batch) -> Any:
        if batch.at == dies_at:
            os.killpg(int(os.environ["MACHINE"]), signal.SIGKILL)  # torchrun
            os.killpg(0, signal.SIGKILL)
        return accumulate(self, batch)

    Optimizer.accumulate = dying  # type: ignore[method-assign]
    machine = Machine(device="cpu", save_seconds=0.0)
    try:
        if (run / CONFIG_FILE).is_file():
            api.resume(run, callbacks=Silent(), machine=machine)
        else:
            api.train_new(
                data, run, "small", "none", MODEL, TRAIN.changed(**changes), callbacks=Silent(), machine=machine
            )
    except MaclipError as error:
        print(f"error[{error.code}]", flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]))
