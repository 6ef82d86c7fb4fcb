"""Bi-MHM, the bidirectional mean Hausdorff metric (docs/method.md, section 4); it ignores the order of frames."""

from __future__ import annotations

from torch import Tensor

from maclip.metrics.cosine import frame_distances
from maclip.metrics.registry import metric


@metric("bimhm")
def bimhm(query: Tensor, support: Tensor, *, unit_support: bool = False) -> Tensor:
    """sum_i min_j d_ij + sum_j min_i d_ij: query [Q, T, D], support [C, T, D] -> distances [Q, C].

    unit_support: as in `frame_distances`.
    """
    d = frame_distances(query, support, unit_support=unit_support)  # (T, M, Q, C)
    return d.amin(1).sum(0) + d.amin(0).sum(0)
