"""Multi-head attention with given weights, and for fewer queries than keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Added to the attention score of a masked key: its exp is 0 in float32 and in float16.
MASK_BIAS = -1e4


def attend(attention: nn.MultiheadAttention, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention with the weights of a torch module: query [B, Q, D], context [B, K, D] -> [B, Q, D].

    bias: added to the scores, broadcast to [B, heads, Q, K]; default None.
    """
    dropout = attention.dropout if attention.training else 0.0
    weight, offset = attention.in_proj_weight, attention.in_proj_bias
    out: Tensor = attention.out_proj(
        attend_heads(weight, offset, attention.num_heads, query, context, bias, dropout=dropout)
    )
    return out


def attend_heads(
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
    """Multi-head attention without its output projection: query [B, Q, D], context [B, K, D] -> [B, Q, A].

    weight, offset: [3A, D] and [3A] or None; project to queries, keys and values, in this order.
    heads: number of heads; A is divided among them.
    bias: added to the scores, broadcast to [B, heads, Q, K].
    norm_query, norm_key: norms of the queries and keys of a head.
    head_scale: [heads, 1, 1], multiplies the output of each head.
    dropout: probability, of attention weights.
    Queries are projected only for the Q rows that are needed, keys and values for the whole context; library modules
    project all of them.
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
    """Additive attention bias [B, keys] that masks key `at` (default: the last) of clips with `has_text` [B] False."""
    bias = torch.zeros(keys, dtype=dtype, device=has_text.device)
    bias[at] = MASK_BIAS
    return (~has_text).to(dtype)[:, None] * bias
