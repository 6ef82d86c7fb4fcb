"""The registry of prototype modules by name."""

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
    """Register an `nn.Module` class as `name`: a prototype module.

    It is created with (width: int, config: PrototypeConfig), where width is D'. Its `forward` takes
    (features, text, has_text) and returns prototypes [C, T, D']:

    features: frame features [C, T, D'] of one clip each.
    text: text features [C, D'], or None for the query branch.
    has_text: bool [C], False selects the query branch for single clips; None: all have text.
    Its tensors are saved as `prototype.*` in a run.
    """
    return PROTOTYPES.register(name)


def build_prototype_module(config: PrototypeConfig, width: int) -> nn.Module | None:
    """A new module of `config.kind` for features of `width` D'; None for "none". Raises `prototype-module-unknown`."""
    return None if config.kind == NONE else PROTOTYPES.find(config.kind)(width, config)
