"""Coloured clips for the tests of reading, caching and skipping, and a training on them that takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from small_clip import small_backbone
from torch import Tensor
from videos import color_frames, write_video

from maclip.config import Machine, ModelConfig, TrainConfig
from maclip.training import api, choosing
from maclip.training.callbacks import Callbacks, Step

CPU = Machine(device="cpu")
COLOURS = ("red", "green", "blue")
MODEL = ModelConfig.of(adapters="blocks", adapted_depth=1, frames=4)
TRAIN = TrainConfig.of(way=3, episodes=6, prototype_episodes=4, accumulate=2, views=2, validations=1, seed=3)


def write_classes(root: Path, clips: int, frames: int = 12) -> Path:
    """A folder for each of three colours with `clips` videos of `frames` frames, no two alike."""
    for label, colour in enumerate(COLOURS):
        (root / colour).mkdir(parents=True)
        for clip in range(clips):
            write_video(root / colour / f"{clip}.mp4", moving(colour, frames, 10 * label + clip))
    return root


def moving(colour: str, frames: int, seed: int) -> np.ndarray:
    """Frames that all differ: a colour under noise that shifts."""
    still = color_frames(colour, frames, seed)
    return np.stack([np.roll(frame, (3 * i, 5 * i), (0, 1)) for i, frame in enumerate(still)])


class Listener(Callbacks):
    """Keeps what a training notes; `stop_after` updates it interrupts, as Ctrl-C does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.notes: list[str] = []
        self.left = stop_after

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, step: Step) -> None:
        self.left = None if self.left is None else self.left - 1
        if self.left == 0:
            raise KeyboardInterrupt


def small_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backbone is the small one, and little is tried at the end."""
    monkeypatch.setattr(api, "load_backbone", lambda name, pretrained, **_: small_backbone())
    monkeypatch.setattr("maclip.runs.load_backbone", lambda name, pretrained, **_: small_backbone())
    monkeypatch.setattr(choosing, "CHOOSING_EPISODES", 20)


def train(data: Path, run: Path, machine: Machine | None = None, callbacks: Listener | None = None, **changes: object):
    """Train on `data`; the last state, what was tuned by name, and what was noted."""
    callbacks = callbacks or Listener()
    config = TRAIN.changed(**changes)
    api.train_new(data, run, "small", "none", MODEL, config, callbacks=callbacks, machine=machine or CPU)
    return adapters(run), callbacks.notes


def adapters(run: Path) -> dict[str, Tensor]:
    return load_file(run / "adapters.safetensors")
