"""TPCM, the text-guided prototype construction module: one transformer layer (docs/method.md, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maclip.config import PrototypeConfig
from maclip.layers import attend, text_key_bias
from maclip.prototypes.registry import prototype
from maclip_runtime.errors import MaclipError


@prototype("tpcm")
class TPCM(nn.Module):
    """Frame features [C, T, D'] of one clip each -> prototypes [C, T, D']; support and query share it."""

    def __init__(self, width: int, config: PrototypeConfig) -> None:
        """For features of `width` D'. Raises `option-invalid` if it is not divisible by the number of heads."""
        super().__init__()
        if width % config.heads:
            raise MaclipError(
                "option-invalid",
                f"The feature width {width} is not divisible by {config.heads} attention heads.",
                f"Choose --prototype-heads that divides {width}.",
            )
        self.dropout = config.dropout
        self.attention = nn.MultiheadAttention(width, config.heads, dropout=config.dropout, batch_first=True)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_ffn = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, features: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """The support branch with `text` [C, D'], the query branch without.

        has_text: bool [C], False selects the query branch for single clips of a batch with text.
        """
        query, context, bias = features, features, None
        if text is not None:
            row = text.to(features.dtype).unsqueeze(1)  # (C, 1, D')
            if has_text is not None:
                row = row * has_text[:, None, None].to(row.dtype)
                bias = text_key_bias(has_text, features.shape[1] + 1, row.dtype, at=0)[:, None, None]
            query = features + row
            context = torch.cat([row, features], dim=1)  # (C, T+1, D')
        mixed = attend(self.attention, self.norm_attention(query), self.norm_attention(context), bias)
        x = query + F.dropout(mixed, self.dropout, self.training)
        out: Tensor = x + F.dropout(self.ffn(self.norm_ffn(x)), self.dropout, self.training)
        return out
