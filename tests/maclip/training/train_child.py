"""Trainings in processes of their own: `python train_child.py DATA FOLDER JOBS`, for tests that end processes.

JOBS is JSON: a list of {"run": name, ...}, done one after the other. `changes` are to the training, `machine`'s to
the machine, `model` to the model, `data` to the clips; `fail_at`: the episode that raises; `lag`: seconds by which the
first process ends its team later than the others; `hang`: the second process says that it waits, and waits for ever;
`kills`: how often the training is killed and gone on with. Each training that is killed is a fork, so that torch is
imported but once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist
from small_clip import small_backbone
from test_trainer import MODEL, TRAIN, Silent

from maclip.config import Machine
from maclip.runs import CONFIG_FILE, METRICS_FILE
from maclip.training import api, choosing
from maclip.training.episode_loader import Batch
from maclip.training.optimizer import Optimizer
from maclip_runtime.errors import MaclipError

KILL_WITHIN_S = 0.03  # after the line of the log that was waited for
PATIENCE_S = 120.0


class Telling(Silent):
    """Prints what is noted of clips."""

    def note(self, text: str) -> None:
        if "skipped" in text:
            print(json.dumps({"skipped": text}), flush=True)


def work(data: Path, run: Path, job: dict[str, Any]) -> None:
    data = Path(job.get("data", data))
    machine = Machine(device="cpu", **job.get("machine", {}))
    if (run / CONFIG_FILE).is_file():
        api.resume(run, callbacks=Silent(), machine=machine)
        return
    config = TRAIN.changed(**job.get("changes", {}))
    model = MODEL.changed(**job.get("model", {}))
    api.train_new(data, run, "small", "none", model, config, callbacks=Telling(), machine=machine)


def work_killed(data: Path, run: Path, job: dict[str, Any]) -> None:
    chance = random.Random(0)
    for kill in range(job["kills"] + 1):
        last = kill == job["kills"]
        before = lines(run)
        child = os.fork()
        if not child:
            work(data, run, job)
            os._exit(0)
        until = time.monotonic() + PATIENCE_S
        while not last and lines(run) < before + 3 and time.monotonic() < until:
            time.sleep(0.002)
        if not last:
            time.sleep(chance.uniform(0, KILL_WITHIN_S))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"run": run.name, "status": status, "lines": lines(run)}), flush=True)


def lines(run: Path) -> int:
    path = run / METRICS_FILE
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def hang(*_: object, **__: object) -> Any:
    """As `load_backbone`: the first process has its backbone, the second one says its number and waits for ever."""
    if os.environ["LOCAL_RANK"] == "0":
        return small_backbone()
    print(json.dumps({"waits": os.getpid()}), flush=True)
    threading.Event().wait()


def main(data: Path, folder: Path, jobs: list[dict[str, Any]]) -> None:
    api.load_backbone = lambda name, pretrained, **_: small_backbone()  # type: ignore[assignment]
    choosing.CHOOSING_EPISODES = 50
    accumulate, leave = Optimizer.accumulate, dist.destroy_process_group
    for job in jobs:
        if job.get("hang"):
            api.load_backbone = hang

        def leaving(seconds: float = job.get("lag", 0.0)) -> None:
            if dist.get_rank() == 0:
                time.sleep(seconds)
            leave()

        def failing(self: Optimizer, batch: Batch, at: int | None = job.get("fail_at")) -> Any:
            if batch.at == at:
                raise ValueError("broken on purpose")
            return accumulate(self, batch)

        Optimizer.accumulate = failing  # type: ignore[method-assign]
        dist.destroy_process_group = leaving
        run = folder / job["run"]
        try:
            (work_killed if "kills" in job else work)(data, run, job)
        except MaclipError as error:
            print(json.dumps({"run": run.name, "code": error.code, "message": error.message}), flush=True)
        except SystemExit:
            continue  # a process that does not lead


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
