"""A temporal transformer without text as prototype module, a baseline of the paper."""

from __future__ import annotations

from torch import Tensor

from maclip.prototypes.registry import prototype
from maclip.prototypes.tpcm import TPCM


@prototype("transformer")
class Transformer(TPCM):
    """Features [C, T, D'] of one clip each -> prototypes [C, T, D'], for support and query clips; ignores text."""

    def forward(self, features: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """The query branch of TPCM; `text` and `has_text` are ignored."""
        return super().forward(features)
