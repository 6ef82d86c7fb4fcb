"""CLIP-FSAR's way to prototypes, as a baseline: the text is one more row of a temporal transformer.

Written from the description in "CLIP-guided Prototype Modulating for Few-shot Action Recognition" (Wang et al., 2023):
a support clip's frame features and its class's text feature attend to each other, a query's frame features to
themselves, in one transformer layer that both share; the text's row is then dropped.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maclip.layers import attend, text_key_bias
from maclip.prototypes.registry import prototype
from maclip.prototypes.tpcm import TPCM


@prototype("clip-fsar")
class ClipFsar(TPCM):
    """The layers of TPCM, put together otherwise: features [C, T, D'] of one clip each -> prototypes [C, T, D']."""

    def forward(self, features: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """The support branch where `text` [C, D'] is given, else the query branch; `has_text` bool [C] as ever."""
        rows, bias = features, None
        if text is not None:
            rows = torch.cat([text.to(features.dtype).unsqueeze(1), features], dim=1)  # (C, T+1, D')
            if has_text is not None:
                bias = text_key_bias(has_text, rows.shape[1], rows.dtype, at=0)[:, None, None]
        context = self.norm_attention(rows)
        # The text's own row is dropped afterwards, so as a query it need not be computed.
        mixed = attend(self.attention, context[:, -features.shape[1] :], context, bias)
        x = features + F.dropout(mixed, self.dropout, self.training)
        out: Tensor = x + F.dropout(self.ffn(self.norm_ffn(x)), self.dropout, self.training)
        return out
