"""The frozen text tower: prompt tokens to features. Equal to open_clip's `encode_text`, but skips padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from open_clip.transformer import ResidualAttentionBlock, text_global_pool
from torch import Tensor, nn

from maclip.layers import attend
from maclip_runtime.bundle.names import name_key
from maclip_runtime.errors import MaclipError

PADDING = 0  # token after the end token
PROBES = ("", "running")  # no name and a name: a vocabulary that lacks the word still has a token for it


def refuse_templates(templates: Iterable[str]) -> None:
    """Raise `option-invalid` for a prompt template without exactly one {} for the name."""
    for template in templates:
        if template.count("{}") != 1 or {"{", "}"} & set(template.replace("{}", "")):
            raise MaclipError(
                "option-invalid",
                f"The template {template!r} does not have exactly one place for the name.",
                "Write {} in it, once: 'a photo of {}'.",
            )


def refuse_cut_templates(templates: Iterable[str], tokenizer: Callable[[list[str]], Tensor]) -> None:
    """Raise `option-invalid` for a template so long that the text encoder does not read the name in it."""
    for template in templates:
        first, second = tokenizer([template.format(name) for name in PROBES])
        if bool((first == second).all()):
            raise MaclipError(
                "option-invalid",
                f"The template {template!r:.200} is too long: the text encoder reads {len(first)} tokens, and none of "
                "them is of the name.",
                "Write a shorter template.",
            )


def refuse_alike(names: Sequence[str], prompts: Sequence[bytes]) -> None:
    """Raise `names-invalid` for two different names of which the text encoder reads the same.

    names: action names; spellings of one name may be there more than once.
    prompts: the tokens of all prompts of each name.
    """
    seen: dict[bytes, str] = {}
    for name, tokens in zip(names, prompts, strict=True):
        other = seen.setdefault(tokens, name)
        if name_key(other) != name_key(name):
            raise MaclipError(
                "names-invalid",
                f"The text encoder reads the same of the names {other!r} and {name!r}: what differs lies beyond the "
                "end of a prompt or is left out of it.",
                "Write names that differ in their first words.",
            )


def text_tower(clip: Any) -> Any:
    """The module that holds the text weights: the CLIP model itself, or its `text` (open_clip has both)."""
    return clip.text if hasattr(clip, "text") else clip


def reads_any_length(clip: Any) -> bool:
    """Whether prompts may be truncated after the end token: the tower is causal and pools at that token.

    Later tokens then have no effect. This holds for CLIP's text towers, but not for those of SigLIP and CoCa.
    """
    tower = text_tower(clip)
    return (
        getattr(tower, "attn_mask", None) is not None
        and getattr(tower, "cls_emb", None) is None
        and _pooling(tower) in ("argmax", "eos")
        and all(type(block) is ResidualAttentionBlock for block in tower.transformer.resblocks)
    )


def trim(clip: Any, tokens: Tensor) -> Tensor:
    """Drop trailing columns that are all padding, if `reads_any_length`: int64 [B, L] -> [B, longest prompt]."""
    if not reads_any_length(clip):
        return tokens
    used = (tokens != PADDING).any(0).nonzero()
    return tokens[:, : int(used.max()) + 1] if len(used) else tokens


def encode_tokens(clip: Any, tokens: Tensor) -> Tensor:
    """open_clip's `encode_text` for tokens of any length L: int64 [B, L] -> [B, D'], not normalised.

    If `reads_any_length` is False, L must be the context length.
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
