"""The kinds of adapters by name. A new one is a file that says `@adapter("name")`; nothing else has to know of it."""

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
    """Register under `name` an `nn.Module` class that is the trained part of one adapted block.

    It is built with (tower: FrozenTower, config: AdapterConfig) once a block and called with (block: FrozenBlock, x,
    text, has_text, keep): tokens x [B, T, N+1, D] through the frozen `block`, with text [B, D'] for support clips (None
    for queries), has_text bool [B] or None to hide it for some, and how many rows of each frame to keep (None: all). It
    returns [B, T, keep, D]. Its tensors are `blocks.{i}.*` in a run.
    """
    return ADAPTERS.register(name)


def build_adapted_block(config: AdapterConfig, tower: FrozenTower) -> nn.Module:
    """The trained part of one block of `tower`. Raises `adapter-unknown`."""
    return ADAPTERS.find(config.kind)(tower, config)
