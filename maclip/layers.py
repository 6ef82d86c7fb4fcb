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
    parts = [slice(i * width, (i + 1) * width) for i in range(3)]
    weights = [weight[part] for part in parts]
    offsets = [None if offset is None else offset[part] for part in parts]
    exporting = torch.compiler.is_exporting()
    if exporting and norm_query is None:  # the scale of the scores costs nothing in a constant
        scale = (width // heads) ** -0.5
        weights[0] = weights[0] * scale
        offsets[0] = None if offset is None else offset[parts[0]] * scale
    q, k, v = (
        F.linear(rows, own, shift).unflatten(-1, (heads, width // heads)).transpose(1, 2)
        for rows, own, shift in zip((query, context, context), weights, offsets, strict=True)
    )  # 3 x (B, heads, Q or K, d)
    q = q if norm_query is None else norm_query(q)
    k = k if norm_key is None else norm_key(k)
    if exporting:  # torch's attention is exported with transposes and scalings that engines do not fuse
        scores = (q if norm_query is None else q * (width // heads) ** -0.5) @ k.transpose(2, 3)
        mixed = (scores if bias is None else scores + bias).softmax(-1) @ v
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    mixed = mixed if head_scale is None else mixed * head_scale
    return mixed.transpose(1, 2).flatten(2)


def text_key_bias(has_text: Tensor, keys: int, dtype: torch.dtype, at: int = -1) -> Tensor:
    """Additive attention bias [B, keys] that masks key `at` (default: the last) of clips with `has_text` [B] False."""
    bias = torch.zeros(keys, dtype=dtype, device=has_text.device)
    bias[at] = MASK_BIAS
    return (~has_text).to(dtype)[:, None] * bias
