"""The frozen text tower: tokens of prompts to features, equal to open_clip's and with no column of padding computed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from open_clip.transformer import ResidualAttentionBlock, text_global_pool
from torch import Tensor, nn

from maclip.layers import attend
from maclip_runtime.errors import MaclipError

PADDING = 0  # open_clip's, after the end token


def refuse_templates(templates: Iterable[str]) -> None:
    """Raise `option-invalid` for prompts that a name cannot be put into."""
    for template in templates:
        try:
            placed = "a name" in template.format("a name")
        except (LookupError, ValueError, AttributeError):
            placed = False
        if not placed:
            raise MaclipError(
                "option-invalid",
                f"The template {template!r} has no place for the name, or others too.",
                "Write {} in it, once: 'a photo of {}'.",
            )


def text_tower(clip: Any) -> Any:
    """Where the text weights are: in the CLIP itself, or in its `text` (open_clip's two ways of building one)."""
    return clip.text if hasattr(clip, "text") else clip


def reads_any_length(clip: Any) -> bool:
    """Whether prompts may be cut after the end token: a causal tower of plain blocks pooled at that token.

    What comes later is then never seen. All of CLIP's own text towers are of this kind; SigLIP's and CoCa's are not.
    """
    tower = text_tower(clip)
    return (
        getattr(tower, "attn_mask", None) is not None
        and getattr(tower, "cls_emb", None) is None
        and _pooling(tower) in ("argmax", "eos")
        and all(type(block) is ResidualAttentionBlock for block in tower.transformer.resblocks)
    )


def trim(clip: Any, tokens: Tensor) -> Tensor:
    """Drop the columns at the end that hold nothing but padding, where `clip` does without: [B, L] -> [B, longest]."""
    if not reads_any_length(clip):
        return tokens
    used = (tokens != PADDING).any(0).nonzero()
    return tokens[:, : int(used.max()) + 1] if len(used) else tokens


def encode_tokens(clip: Any, tokens: Tensor) -> Tensor:
    """open_clip's `encode_text` for prompts of any common length: int64 [B, L] -> [B, D'], not normalised.

    Where `reads_any_length` is False, L must be the tower's own context length.
    """
    if not reads_any_length(clip):
        encoded: Tensor = clip.encode_text(tokens)
        return encoded
    tower = text_tower(clip)
    length = tokens.shape[1]
    mask = tower.attn_mask[:length, :length]
    x = tower.token_embedding(tokens) + tower.positional_embedding[:length]  # (B, L, W)
    for block in tower.transformer.resblocks:
        normed = block.ln_1(x)
        x = x + block.ls_1(attend(block.attn, normed, normed, mask))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    x = text_global_pool(tower.ln_final(x), tokens, _pooling(tower), eos_token_id=_end_token(tower))  # (B, W)
    projection = tower.text_projection
    if projection is None:
        return x
    out: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    return out


def _pooling(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", ""))


def _end_token(tower: Any) -> int | None:
    found = getattr(tower, "text_eos_id", None)
    return found if found is not None else getattr(tower, "eos_id", None)
