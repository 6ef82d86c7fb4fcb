"""Models whose every tuned tensor is random, and the type of the fixture that exports them once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from maclip.model.maclip import MaClip

Once = Callable[[str, Callable[[Path], object]], Path]

NAMES = ["moving a shape up", "two shapes passing each other", "a red star growing"]


def randomised(model: MaClip) -> MaClip:
    """Zero-initialised adapters would hide mistakes: give every tuned tensor random values."""
    torch.manual_seed(11)
    for parameter in model.tuned_parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model
