"""The registry of adapters: kinds of adapted blocks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from maclip.backbones.image_towers import FrozenTower
from maclip.config import AdapterConfig
from maclip.registry import Registry

Module = TypeVar("Module", bound=type[nn.Module])

ADAPTERS: Registry[type[nn.Module]] = Registry("adapter")


def adapter(name: str) -> Callable[[Module], Module]:
    """Register an `nn.Module` class as `name`: the trained part of one adapted block.

    It is created with (tower: FrozenTower, config: AdapterConfig) for each block. Its `forward` takes
    (block: FrozenBlock, x, text, has_text, keep) and returns [B, T, keep, D]:

    block: the frozen block.
    x: tokens [B, T, N+1, D].
    text: text features [B, D'] of support clips, None for queries.
    has_text: bool [B], False hides the text of single clips; None: all have text.
    keep: number of tokens of a frame to return, None: all.
    Its tensors are saved as `blocks.{i}.*` in a run.
    """
    return ADAPTERS.register(name)


def build_adapted_block(config: AdapterConfig, tower: FrozenTower) -> nn.Module:
    """A new adapted block of kind `config.kind` for `tower`. Raises `adapter-unknown`."""
    return ADAPTERS.find(config.kind)(tower, config)
