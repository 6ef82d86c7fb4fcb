"""The prototype modules by name. A new one is a file that says `@prototype("name")`; nothing else has to know of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from maclip.config import PrototypeConfig
from maclip.config.model import NONE
from maclip.registry import Registry

Module = TypeVar("Module", bound=type[nn.Module])

PROTOTYPES: Registry[type[nn.Module]] = Registry("prototype module")


def prototype(name: str) -> Callable[[Module], Module]:
    """Register under `name` an `nn.Module` class that makes prototypes of frame features.

    It is built with (width D', config: PrototypeConfig) and called with features [C, T, D'] of one clip each, text
    [C, D'] or None (the query branch) and has_text bool [C] or None; it returns prototypes [C, T, D']. Its tensors are
    `prototype.*` in a run.
    """
    return PROTOTYPES.register(name)


def build_prototype_module(config: PrototypeConfig, width: int) -> nn.Module | None:
    """The module of `config` for features of `width`, None for "none". Raises `prototype-module-unknown`."""
    return None if config.kind == NONE else PROTOTYPES.find(config.kind)(width, config)
