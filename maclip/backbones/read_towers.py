"""Image towers that a side network can read, but whose blocks the paper's adapters do not fit.

Here `embed` computes the whole tower, and a frame's only token is its feature. Rotary positions (EVA, Perception
Encoder) would need them in temporal attention too; convolutions (MobileCLIP's S, ConvNeXt, ResNet) have no tokens to
attend to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from timm.models.convnext import ConvNeXt
from timm.models.fastvit import FastVit
from torch import Tensor, nn
from torch.nn import functional as F

from maclip.backbones.image_towers import FrozenTower

READ_STAGES = 2  # of a staged tower, the last ones
MAX_LAYERS = 12  # of a staged tower that are read


class _ReadTower(FrozenTower):
    """A tower in one piece."""

    def __init__(self) -> None:
        self.blocks = []
        self.rows, self.last_rows = 1, None

    def embed(self, pixels: Tensor) -> Tensor:
        return self.read(pixels, [0] * len(self.read_widths))[1].unsqueeze(1)  # (F, 1, D')

    def pre_norm(self, tokens: Tensor) -> Tensor:
        return tokens

    def feature(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class _EvaTower(_ReadTower):
    """timm's EVA in open_clip: a ViT with rotary positions."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        trunk = self._trunk = visual.trunk
        self._visual = visual
        self._rows = int(trunk.patch_embed.num_patches + trunk.num_prefix_tokens)
        self._widths = (int(trunk.embed_dim),) * (len(trunk.blocks) + 1)
        self.feature_width = self.width = _feature_width(visual)
        by_class = trunk.attn_pool is None and trunk.global_pool == "token" and trunk.num_prefix_tokens > 0
        self.mean_from = None if by_class else int(trunk.num_prefix_tokens)

    @property
    def read_rows(self) -> int:
        return self._rows

    @property
    def read_widths(self) -> tuple[int, ...]:
        return self._widths

    def read(self, pixels: Tensor, rows: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        trunk = self._trunk
        x, rope = trunk._pos_embed(trunk.patch_embed(pixels))
        x = trunk.norm_pre(x)
        depths = [x[:, : rows[0]]]
        for i, block in enumerate(trunk.blocks):
            x = block(x, rope=rope[i] if rope is not None and getattr(trunk, "rope_mixed", False) else rope)
            depths.append(x[:, : rows[i + 1]])
        feature: Tensor = self._visual.head(trunk.forward_head(trunk.norm(x)))
        return depths, feature


class _StagedTower(_ReadTower):
    """A tower of convolutional stages, each of fewer and wider places than the one before.

    Of its last two stages at most twelve blocks are read, evenly, always with the last. The places of all are averaged
    to the grid of the last stage.

    before: pixels to the first stage.
    stages: the modules of each stage; those that are called `blocks` are read.
    head: the last block's output [F, D, h, w] -> features [F, D'].
    """

    mean_from = 0

    def __init__(
        self,
        before: Callable[[Tensor], Tensor],
        stages: Sequence[tuple[Iterable[nn.Module], Sequence[nn.Module]]],
        head: Callable[[Tensor], Tensor],
        example: Tensor,
    ) -> None:
        super().__init__()
        self._before = [before]
        for first, blocks in stages[:-READ_STAGES]:
            self._before += [*first, *blocks]
        self._stages, self._head = stages[-READ_STAGES:], head
        outputs = 1 + sum(len(blocks) for _, blocks in self._stages)
        layers = min(MAX_LAYERS, outputs - 1)
        self._chosen = [round(i * (outputs - 1) / layers) for i in range(layers + 1)]
        with torch.no_grad():
            grids, last = self._run(example)
            self._grid = int(last.shape[-1])
            self._widths = tuple(int(x.shape[1]) for x in grids)
            self.feature_width = self.width = int(head(last).shape[-1])

    @property
    def read_rows(self) -> int:
        return self._grid**2

    @property
    def read_widths(self) -> tuple[int, ...]:
        return self._widths

    def read(self, pixels: Tensor, rows: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        grids, last = self._run(pixels)
        pooled = [x if not many else self._places(x)[:, :many] for x, many in zip(grids, rows, strict=True)]
        return pooled, self._head(last)

    def _run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Pixels -> the outputs that are read, and the last, each [F, D, h, w]."""
        for module in self._before:
            x = module(x)
        outputs = [x]
        for first, blocks in self._stages:
            for module in first:
                x = module(x)
            for block in blocks:
                x = block(x)
                outputs.append(x)
        return [outputs[i] for i in self._chosen], x

    def _places(self, x: Tensor) -> Tensor:
        """[F, D, h, w] -> [F, grid^2, D]."""
        return F.avg_pool2d(x, x.shape[-1] // self._grid).flatten(2).transpose(1, 2)


def eva_tower(visual: Any) -> FrozenTower:
    """The tower of timm's EVA in open_clip."""
    return _EvaTower(visual)


def staged_tower(visual: Any) -> FrozenTower | None:
    """The tower of a FastViT (MobileCLIP), a ConvNeXt or OpenAI's ResNet; None for another."""
    size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    example = next(visual.parameters()).new_zeros(1, 3, size, size)
    if isinstance(visual, ModifiedResNet):
        whole: Any = visual
        layers = (whole.layer1, whole.layer2, whole.layer3, whole.layer4)
        return _StagedTower(whole.stem, [((), list(layer)) for layer in layers], whole.attnpool, example)
    trunk: Any = getattr(visual, "trunk", None)
    kind: type = type(trunk)
    if kind is FastVit:
        stages = [([stage.downsample, stage.pos_emb], list(stage.blocks)) for stage in trunk.stages]
        last = trunk.final_conv
    elif kind is ConvNeXt:
        stages = [([stage.downsample], list(stage.blocks)) for stage in trunk.stages]
        last = trunk.norm_pre
    else:
        return None
    return _StagedTower(trunk.stem, stages, lambda x: visual.head(trunk.forward_head(last(x))), example)


def _feature_width(visual: Any) -> int:
    layers = [layer for layer in (*visual.head.modules(), visual.trunk.head) if isinstance(layer, nn.Linear)]
    return int(layers[-1].out_features if layers else visual.trunk.num_features)
