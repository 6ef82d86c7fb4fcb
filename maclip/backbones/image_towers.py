"""A frozen image tower in the parts that MA-CLIP needs: pixels to tokens, single blocks, tokens to a frame's feature.

Here are the towers whose blocks can be adapted, two kinds of ViT: open_clip's, and timm's inside open_clip (SigLIP,
MobileCLIP-B). These classes only refer to modules of `model.clip`. They hold no weights, are not `nn.Module`s, and add
nothing to a state dict.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from maclip.layers import attend, attend_heads


class FrozenBlock(ABC):
    """One pre-norm block: x + attention(norm_1(x)), then x + mlp(norm_2(x)). The branches include any layer scale.

    module: the block of the backbone, which holds the weights.
    """

    module: Any
    norm_1: nn.Module
    norm_2: nn.Module

    @abstractmethod
    def attention(self, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """The attention branch on normalised tokens: query [B, Q, D], context [B, K, D] -> [B, Q, D]."""

    @abstractmethod
    def mlp(self, normed: Tensor) -> Tensor:
        """The MLP branch on normalised tokens: [..., D] -> [..., D]."""


def plain_block(block: FrozenBlock, x: Tensor, keep: int | None = None) -> Tensor:
    """A frozen block on tokens [B, L, D] -> [B, `keep`, D]: only the first `keep` tokens are computed, default all."""
    context = block.norm_1(x)
    x = x[:, :keep] + block.attention(context[:, :keep], context)
    return x + block.mlp(block.norm_2(x))


class FrozenTower(ABC):
    """An image tower: `embed`, `pre_norm`, each of `blocks`, then `feature`; `read` is all of it in one call.

    blocks: its transformer blocks that can be adapted, each on tokens [F, rows, D]; none in a tower of another kind.
    rows: tokens of a frame: N patches, and before them any class token and registers.
    width, feature_width: D and D'.
    mean_from: what represents a frame in temporal adaptation (docs/method.md, section 2). None: the class token, if the
        feature depends on it. Else the index of the first patch token: the mean of the patch tokens (our choice; the
        paper has only class tokens).
    last_rows: number of tokens of the last block that `feature` reads; None: all.
    """

    blocks: list[FrozenBlock]
    rows: int
    width: int
    feature_width: int
    mean_from: int | None
    last_rows: int | None

    @property
    def read_rows(self) -> int:
        """Tokens of a frame at each depth that `read` returns."""
        return self.rows

    @property
    def read_widths(self) -> tuple[int, ...]:
        """Their width at each depth: before the first layer that is read, and after each."""
        return (self.width,) * (len(self.blocks) + 1)

    def read(self, pixels: Tensor, rows: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """What a side network reads: normalised pixels [F, 3, H, W] -> the tokens of each depth, and features [F, D'].

        rows: how many of the first tokens are wanted of each depth.
        """
        x = self.pre_norm(self.embed(pixels))
        depths = [x[:, : rows[0]]]
        for i, block in enumerate(self.blocks, 1):
            x = plain_block(block, x, self.last_rows if i == len(self.blocks) else None)
            depths.append(x[:, : rows[i]])
        return depths, self.feature(x)

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [F, 3, H, W] -> tokens [F, rows, D] with position embeddings, before `pre_norm`."""

    @abstractmethod
    def pre_norm(self, tokens: Tensor) -> Tensor:
        """The norm before the first block, or the identity: [..., D] -> [..., D]."""

    @abstractmethod
    def feature(self, tokens: Tensor) -> Tensor:
        """Final norm, pooling and projection: the last block's output [F, `last_rows`, D] -> [F, D']."""


class _OpenClipBlock(FrozenBlock):
    def __init__(self, block: Any) -> None:
        self.norm_1, self.norm_2, self.module = block.ln_1, block.ln_2, block

    def attention(self, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        out: Tensor = self.module.ls_1(attend(self.module.attn, query, context, bias))
        return out

    def mlp(self, normed: Tensor) -> Tensor:
        out: Tensor = self.module.ls_2(self.module.mlp(normed))
        return out


class _CustomBlock(_OpenClipBlock):
    """open_clip's custom block, which may have norms of queries and keys, head scales and further norms."""

    def attention(self, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        attn = self.module.attn
        weight, offset = attn.in_proj_weight, attn.in_proj_bias
        mixed = attend_heads(
            weight, offset, attn.num_heads, query, context, bias, attn.ln_q, attn.ln_k, attn.head_scale
        )
        out: Tensor = self.module.ls_1(self.module.ln_attn(attn.out_proj(attn.ln_inner(mixed))))
        return out


class _TimmBlock(FrozenBlock):
    def __init__(self, block: Any) -> None:
        self.norm_1, self.norm_2, self.module = block.norm1, block.norm2, block

    def attention(self, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        attn = self.module.attn
        mixed = attend_heads(
            attn.qkv.weight, attn.qkv.bias, attn.num_heads, query, context, bias, attn.q_norm, attn.k_norm
        )  # fmt: skip
        out: Tensor = self.module.ls1(attn.proj(attn.norm(mixed)))
        return out

    def mlp(self, normed: Tensor) -> Tensor:
        out: Tensor = self.module.ls2(self.module.mlp(normed))
        return out


class _OpenClipTower(FrozenTower):
    def __init__(self, visual: Any) -> None:
        kinds = {ResidualAttentionBlock: _OpenClipBlock, CustomResidualAttentionBlock: _CustomBlock}
        self.blocks = [kinds[type(block)](block) for block in visual.transformer.resblocks]
        self.rows, self.width = (int(n) for n in visual.positional_embedding.shape)
        self.feature_width = int(visual.output_dim)
        pooler = visual.attn_pool is not None  # attends over all tokens
        self.mean_from = None if pooler or visual.pool_type == "tok" else 1
        self.last_rows = 1 if not pooler and visual.pool_type == "tok" else None
        self._visual = visual

    def embed(self, pixels: Tensor) -> Tensor:
        visual = self._visual
        patches = visual.conv1(pixels).flatten(2).transpose(1, 2)  # (F, N, D)
        cls = visual.class_embedding.expand(patches.shape[0], 1, -1)
        out: Tensor = torch.cat([cls, patches], dim=1) + visual.positional_embedding
        return out

    def pre_norm(self, tokens: Tensor) -> Tensor:
        out: Tensor = self._visual.ln_pre(tokens)
        return out

    def feature(self, tokens: Tensor) -> Tensor:
        visual = self._visual
        pooled = visual.ln_post(tokens[:, 0]) if self.last_rows == 1 else visual._pool(tokens)[0]
        out: Tensor = pooled @ visual.proj
        return out


class _TimmTower(FrozenTower):
    def __init__(self, visual: Any) -> None:
        trunk = visual.trunk
        self.blocks = [_TimmBlock(block) for block in trunk.blocks]
        self.rows = int(trunk.patch_embed.num_patches + trunk.num_prefix_tokens)
        self.width = int(trunk.embed_dim)
        layers = [layer for layer in (*visual.head.modules(), trunk.head) if isinstance(layer, nn.Linear)]
        self.feature_width = int(layers[-1].out_features if layers else trunk.num_features)
        by_class = trunk.has_class_token and (trunk.global_pool == "token" or trunk.pool_include_prefix)
        self.mean_from = None if by_class else int(trunk.num_prefix_tokens)
        self.last_rows = 1 if trunk.global_pool == "token" else None
        self._visual, self._trunk = visual, trunk

    def embed(self, pixels: Tensor) -> Tensor:
        out: Tensor = self._trunk._pos_embed(self._trunk.patch_embed(pixels))
        return out

    def pre_norm(self, tokens: Tensor) -> Tensor:
        out: Tensor = self._trunk.norm_pre(tokens)
        return out

    def feature(self, tokens: Tensor) -> Tensor:
        out: Tensor = self._visual.head(self._trunk.forward_head(self._trunk.norm(tokens)))
        return out


def open_clip_tower(visual: VisionTransformer) -> FrozenTower:
    """The tower of open_clip's own ViT."""
    return _OpenClipTower(visual)


def timm_tower(visual: Any) -> FrozenTower:
    """The tower of a plain ViT of timm, in open_clip's wrapper."""
    return _TimmTower(visual)
