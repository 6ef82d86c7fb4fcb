"""A plain temporal transformer as the prototype module: TPCM's layers without any text, a baseline of the paper."""

from __future__ import annotations

from torch import Tensor

from maclip.prototypes.registry import prototype
from maclip.prototypes.tpcm import TPCM


@prototype("transformer")
class Transformer(TPCM):
    """Features [C, T, D'] of one clip each -> prototypes [C, T, D'], support and query alike; text is ignored."""

    def forward(self, features: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """The query branch of TPCM, whatever text there is."""
        return super().forward(features)
