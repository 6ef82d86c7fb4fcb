"""Which parts an image encoder has, or why MA-CLIP does not support it."""

from __future__ import annotations

from typing import Any

from open_clip.timm_model import TimmModel
from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock, VisionTransformer
from timm.layers.attention import Attention as TimmAttention
from timm.models.eva import Eva
from timm.models.vision_transformer import Block as TimmPlainBlock
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import nn

from maclip.backbones.image_towers import FrozenTower, open_clip_tower, timm_tower
from maclip.backbones.read_towers import eva_tower, staged_tower

TIMM_POOLINGS = ("token", "avg", "map")


def cut_tower(visual: nn.Module) -> FrozenTower:
    """The tower of the image encoder `visual`. Raises ValueError with the reason if MA-CLIP does not support it."""
    size: Any = getattr(visual, "image_size", 0)
    if isinstance(size, (tuple, list)) and len(set(size)) > 1:
        raise ValueError("takes frames that are not square")
    if isinstance(visual, VisionTransformer):
        _require_open_clip(visual)
        return open_clip_tower(visual)
    trunk = visual.trunk if isinstance(visual, TimmModel) else visual
    if type(trunk) is TimmVisionTransformer:
        _require_timm(trunk, size)
        return timm_tower(visual)
    if type(trunk) is Eva:
        _require_size(trunk, size)
        return eva_tower(visual)
    found = staged_tower(visual)
    if found is None:
        raise ValueError(f"is of the kind {type(trunk).__name__}, which is not supported")
    return found


def frame_size(visual: Any) -> int:
    """The side of the frames that an image encoder takes, in px."""
    size: Any = visual.image_size
    return int(size[0] if isinstance(size, (tuple, list)) else size)


def _require_open_clip(visual: Any) -> None:
    blocks = list(visual.transformer.resblocks)
    if any(type(block) not in (ResidualAttentionBlock, CustomResidualAttentionBlock) for block in blocks):
        raise ValueError(f"has custom blocks, {type(blocks[0]).__name__}")
    if any(getattr(block.attn, "logit_scale", None) is not None for block in blocks):
        raise ValueError("uses cosine attention, which open_clip itself cannot compute")
    if visual.attn_pool is not None:
        if visual.attn_pool_contrastive is not None or visual.pool_type == "none":
            raise ValueError("pools to several tokens, not to one feature")
    elif visual.pool_type not in ("tok", "avg"):
        raise ValueError("pools to several tokens, not to one feature")


def _require_timm(trunk: Any, size: tuple[int, int]) -> None:
    for block in trunk.blocks:
        if type(block) is not TimmPlainBlock or type(block.attn) is not TimmAttention:
            raise ValueError(f"has other blocks, {type(block).__name__} with {type(block.attn).__name__}")
        if getattr(block.attn, "gate", None) is not None:
            raise ValueError("has gated attention")
    _require_size(trunk, size)
    if trunk.global_pool not in TIMM_POOLINGS:
        raise ValueError(f"pools by {trunk.global_pool or 'nothing'!r}, not to one feature")


def _require_size(trunk: Any, size: tuple[int, int]) -> None:
    if trunk.dynamic_img_size:
        raise ValueError("takes frames of any size")
    if trunk.patch_embed.img_size != size:
        raise ValueError(f"takes {trunk.patch_embed.img_size[0]} px where its configuration says {size[0]}")
