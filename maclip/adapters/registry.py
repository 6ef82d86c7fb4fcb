"""The registry of adapters by name: kinds of adapted blocks, and side networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from maclip.backbones.image_towers import FrozenTower
from maclip.config import AdapterConfig, LadderConfig
from maclip.config.model import BLOCK_OPTIONS, NONE
from maclip.config.options import Option
from maclip.registry import Registry
from maclip_runtime.errors import MaclipError

Module = TypeVar("Module", bound=type[nn.Module])

ADAPTERS: Registry[type[nn.Module]] = Registry("adapter")


class SideNetwork(nn.Module, ABC):
    """A trained network beside the frozen image tower, which reads it and never writes back.

    It is created with (tower: FrozenTower, config: AdapterConfig, frames: int) once for a model. Its tensors are saved
    as `side.*` in a run.

    frozen_shape: [rows, width] of a frame in `read`, which no tuned tensor changes: training caches it.
    stem_shape: [rows, width] of a frame in `stem`, which no other frame changes: a stream keeps it.
    """

    frozen_shape: tuple[int, int]
    stem_shape: tuple[int, int]

    @abstractmethod
    def read(self, tower: FrozenTower, pixels: Tensor) -> Tensor:
        """What is read of the frozen tower: normalised pixels [F, 3, H, W] -> [F, *frozen_shape]."""

    @abstractmethod
    def stem(self, frozen: Tensor, run: Callable[..., Tensor]) -> Tensor:
        """The tuned part that depends on one frame: [..., *frozen_shape] -> [..., *stem_shape].

        run: calls a layer with its inputs, with gradient checkpointing where training uses it.
        """

    @abstractmethod
    def stored(self, tokens: Tensor) -> Tensor:
        """The tokens of `stem` as a stream keeps them, in half precision; `tower` takes both."""

    @abstractmethod
    def tower(self, tokens: Tensor, text: Tensor | None, has_text: Tensor | None, run: Callable[..., Tensor]) -> Tensor:
        """The part that depends on all frames of a clip: [B, T, *stem_shape] -> frame features [B, T, D'].

        text: text features [B, D'] of support clips, None for queries.
        has_text: bool [B], False hides the text of single clips; None: all have text.
        run: as for `stem`.
        """


def adapter(name: str) -> Callable[[Module], Module]:
    """Register an `nn.Module` class as `name`: a `SideNetwork`, or the trained part of one adapted block.

    The latter is created with (tower: FrozenTower, config: AdapterConfig) for each block. Its `forward` takes
    (block: FrozenBlock, x, text, has_text, keep) and returns [B, T, keep, D]:

    block: the frozen block.
    x: tokens [B, T, N+1, D].
    text: text features [B, D'] of support clips, None for queries.
    has_text: bool [B], False hides the text of single clips; None: all have text.
    keep: number of tokens of a frame to return, None: all.
    Its tensors are saved as `blocks.{i}.*` in a run.
    """
    return ADAPTERS.register(name)


def is_side_network(kind: str) -> bool:
    """Whether adapters of `kind` are a side network. Raises `adapter-unknown`."""
    return issubclass(ADAPTERS.find(kind), SideNetwork)


def foreign_options(config: AdapterConfig) -> list[Option]:
    """The options that adapters of this kind do not read and that are not at their default.

    Raises `adapter-unknown`.
    """
    ladder = {one.name for one in LadderConfig.options()}
    if config.kind == NONE:
        others = ladder | set(BLOCK_OPTIONS)
    else:
        others = set(BLOCK_OPTIONS) if is_side_network(config.kind) else ladder
    values = config.values()
    return [one for one in config.options() if one.name in others and values[one.name] != one.default]


def refuse_foreign_options(config: AdapterConfig) -> None:
    """Raise `option-invalid` for an option that adapters of this kind do not read, and `adapter-unknown`."""
    for one in foreign_options(config):
        kind, whose = ("blocks", "adapters in the blocks") if one.name in BLOCK_OPTIONS else ("ladder", "a ladder")
        flag = one.flag.replace("--", "--no-", 1) if one.kind is bool else one.flag
        raise MaclipError(
            "option-invalid",
            f"{flag} is an option of {whose}, but --adapters is {config.kind}.",
            f"Add --adapters {kind}, or leave out {flag}.",
        )


def build_adapted_block(config: AdapterConfig, tower: FrozenTower) -> nn.Module:
    """A new adapted block of kind `config.kind` for `tower`. Raises `adapter-unknown`."""
    return ADAPTERS.find(config.kind)(tower, config)


def build_side_network(config: AdapterConfig, tower: FrozenTower, frames: int) -> SideNetwork:
    """A new side network of kind `config.kind` for `tower` and clips of `frames`. Raises `adapter-unknown`."""
    kind: Any = ADAPTERS.find(config.kind)
    side: SideNetwork = kind(tower, config, frames)
    return side
