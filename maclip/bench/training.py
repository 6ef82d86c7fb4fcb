"""The child that trains: the trainer as users run it, paused after each update until its next turn."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maclip.backbones.loading import load_backbone
from maclip.bench.plan import Method, Settings
from maclip.config import Machine
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import open_folders
from maclip.data.episodes import Ids
from maclip.model.maclip import MaClip
from maclip.training.api import new_run_config
from maclip.training.callbacks import Callbacks, Step
from maclip.training.distributed import pick_device
from maclip.training.trainer import Trainer
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.tools.measuring.child import Pipe
from maclip_runtime.tools.measuring.memory import peak_resident_mib, resident_mib

MIB = 2**20
NEVER = 1e9  # seconds between checkpoints: a measured training writes none
MEMORY_EXHAUSTED = "memory-exhausted"
ALLOCATION_FAILED = ("DefaultCPUAllocator", "out of memory")  # in torch's RuntimeError


@dataclass(frozen=True)
class Turn:
    """One update: its `seconds`, the mean `loss` of its episodes, and peak memory so far in MiB.

    `resident_mib` is the process's, None where the system does not report it; `device_mib` that of tensors on a GPU,
    None without one.
    """

    seconds: float
    loss: float
    resident_mib: float | None
    device_mib: float | None


@dataclass(frozen=True)
class Ready:
    """A training that has made its first update, which is not timed.

    device: "cpu" or the name of the GPU.
    before_mib: resident before the backbone was loaded, that is Python and its libraries.
    cache_mib: the size of cached stem tokens, 0 without.
    """

    device: str
    parameters: int
    tuned: int
    before_mib: float | None
    cache_mib: float


def train_in_turns(pipe: Pipe, method: Method, settings: Settings, data: Path, run: Path) -> None:
    """The body of a `Child`: sends `Ready`, then makes an update for each message and answers with its `Turn`."""
    try:
        _train(pipe, method, settings, data, run)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in ALLOCATION_FAILED):
            raise memory_exhausted(str(error).splitlines()[0][:200] if str(error) else "MemoryError") from error
        raise


def memory_exhausted(how: str) -> MaclipError:
    """The error for lack of memory; `how` it showed."""
    return MaclipError(
        MEMORY_EXHAUSTED,
        f"There is not enough memory: {how}.",
        "Close what else runs, measure one at a time with --only, or lower --way, --shot or --frames.",
        EXIT_MACHINE_LACKS,
    )


def _train(pipe: Pipe, method: Method, settings: Settings, data: Path, run: Path) -> None:
    before = resident_mib()
    torch.set_num_threads(settings.threads)
    # No update here waits for the disk: the state is never saved.
    machine = Machine(device=pick_device(settings.device), save_seconds=NEVER)
    loaded = load_backbone(settings.backbone, settings.pretrained)
    classes = open_folders(data)
    torch.manual_seed(settings.seed)
    model = MaClip(loaded, method.model).to(machine.device)
    tuned = sum(parameter.numel() for parameter in model.tuned_parameters())
    clock = _Clock(pipe, machine.device)
    config = new_run_config(model, method.train, classes)
    trainer = Trainer(model, classes, config, run, callbacks=clock, machine=machine)
    mode = method.train.caching.cache
    if mode == "none":
        _hold(trainer.store)
    cached = trainer.store.cache_bytes(model.frozen_stem()) / MIB if mode == "stem" else 0.0
    total = sum(parameter.numel() for parameter in model.parameters())
    name = torch.cuda.get_device_name() if machine.device == "cuda" else machine.device
    clock.ready = Ready(name, total, tuned, before, round(cached, 1))
    trainer.fit()


def _hold(store: ClipStore) -> None:
    """Decode all clips of `store` now and let it give these views from then on: decoding is not measured here."""
    pixels = store.load(np.arange(len(store)))

    def held(ids: Ids, rng: np.random.Generator | None = None) -> Tensor:
        return pixels[torch.from_numpy(ids)]

    store.load = held  # type: ignore[method-assign]


class _Clock(Callbacks):
    """Callbacks of the training: each update ends a turn, and the next one begins when the parent asks for it."""

    ready: Ready

    def __init__(self, pipe: Pipe, device: str) -> None:
        self._pipe, self._device = pipe, device
        self._begun: float | None = None

    def step(self, step: Step) -> None:
        """Send the update's figures and wait for the next turn."""
        on_gpu = self._device == "cuda"
        if on_gpu:
            torch.cuda.synchronize()
        if self._begun is None:
            said: Ready | Turn = self.ready
        else:
            peak = torch.cuda.max_memory_allocated() / MIB if on_gpu else None
            said = Turn(time.perf_counter() - self._begun, step.loss, peak_resident_mib(), peak)
        try:
            self._pipe.send(said)
            self._pipe.recv()
        except (EOFError, OSError):
            _leave()
        self._begun = time.perf_counter()


def _leave() -> None:
    """End this process at once: on an exception the trainer would first save its state, a gigabyte or more."""
    os._exit(0)
