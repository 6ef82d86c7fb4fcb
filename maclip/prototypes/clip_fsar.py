"""The prototype module of CLIP-FSAR, a baseline: the text is a further token of a temporal transformer.

Implemented from "CLIP-guided Prototype Modulating for Few-shot Action Recognition" (Wang et al., 2023). One transformer
layer, shared by support and query clips: the frame features of a support clip and the text feature of its class attend
to each other, those of a query clip to themselves. The text token is dropped afterwards.
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
    """The layers of TPCM, combined as in CLIP-FSAR: features [C, T, D'] of one clip each -> prototypes [C, T, D']."""

    def forward(self, features: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """The support branch with `text` [C, D'], the query branch without; `has_text` bool [C] as in TPCM."""
        rows, bias = features, None
        if text is not None:
            rows = torch.cat([text.to(features.dtype).unsqueeze(1), features], dim=1)  # (C, T+1, D')
            if has_text is not None:
                bias = text_key_bias(has_text, rows.shape[1], rows.dtype, at=0)[:, None, None]
        context = self.norm_attention(rows)
        # The text token is dropped afterwards, so it is not computed as a query.
        mixed = attend(self.attention, context[:, -features.shape[1] :], context, bias)
        x = features + F.dropout(mixed, self.dropout, self.training)
        out: Tensor = x + F.dropout(self.ffn(self.norm_ffn(x)), self.dropout, self.training)
        return out
