"""Multi-head attention with frozen weights, wherever their library keeps them, and for fewer queries than keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Added to the attention score of a key that must not be seen: exp of it is 0 in float32 and in float16.
HIDDEN_BIAS = -1e4


def attend(attention: nn.MultiheadAttention, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention with the weights of torch's own module: query [B, Q, D], context [B, K, D] -> [B, Q, D].

    `bias` is added to the scores, broadcast to [B, heads, Q, K].
    """
    dropout = attention.dropout if attention.training else 0.0
    weight, offset = attention.in_proj_weight, attention.in_proj_bias
    out: Tensor = attention.out_proj(mix(weight, offset, attention.num_heads, query, context, bias, dropout=dropout))
    return out


def mix(
    weight: Tensor,
    offset: Tensor | None,
    heads: int,
    query: Tensor,
    context: Tensor,
    bias: Tensor | None = None,
    norm_query: nn.Module | None = None,
    norm_key: nn.Module | None = None,
    head_scale: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention up to its output projection: query [B, Q, D], context [B, K, D] -> [B, Q, A].

    `weight` [3A, D] and `offset` [3A] project to queries, keys and values, in this order. The norms are of single
    heads, `head_scale` [heads, 1, 1] weighs what they find. Keys and values are projected for the whole context but
    queries only for the rows that are kept, which no library's own module can do in one projection.
    """
    width = weight.shape[0] // 3
    q = F.linear(query, weight[:width], None if offset is None else offset[:width])
    kv = F.linear(context, weight[width:], None if offset is None else offset[width:])
    q = q.unflatten(-1, (heads, width // heads)).transpose(1, 2)  # (B, heads, Q, d)
    k, v = kv.unflatten(-1, (2, heads, width // heads)).permute(2, 0, 3, 1, 4).unbind(0)  # 2 x (B, heads, K, d)
    q = q if norm_query is None else norm_query(q)
    k = k if norm_key is None else norm_key(k)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    mixed = mixed if head_scale is None else mixed * head_scale
    return mixed.transpose(1, 2).flatten(2)


def text_key_bias(has_text: Tensor, keys: int, dtype: torch.dtype, at: int = -1) -> Tensor:
    """Additive attention bias [B, keys]: `HIDDEN_BIAS` on key `at` of the clips whose `has_text` [B] is False."""
    bias = torch.zeros(keys, dtype=dtype, device=has_text.device)
    bias[at] = HIDDEN_BIAS
    return (~has_text).to(dtype)[:, None] * bias
