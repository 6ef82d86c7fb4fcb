"""OTAM: ordered temporal alignment by soft-min dynamic programming (method.md section 4; Cao et al., CVPR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maclip.metrics.cosine import frame_distances

SMOOTHING = 0.5  # lambda of the soft-min


def otam(query: Tensor, support: Tensor, smoothing: float = SMOOTHING) -> Tensor:
    """Alignment distances, both directions summed: query [Q, T, D], support [C, M, D] -> [Q, C].

    Computed in float32 or wider whatever comes in, so it is stable in half precision.
    """
    d = frame_distances(query, support)  # (T, M, Q, C)
    if d.shape[0] == d.shape[1]:  # both directions in one pass
        return _align(torch.stack([d, d.transpose(0, 1)], dim=2), smoothing).sum(0)
    return _align(d, smoothing) + _align(d.transpose(0, 1), smoothing)


def _align(d: Tensor, smoothing: float) -> Tensor:
    """The last entry of the cumulative distance: d [L, M, ...] -> [...].

    One zero column is padded on each side of the M axis. A row is computed from the row above it, column by
    column; the first row is a plain cumulative sum and column 0 stays zero. Everything is kept divided by
    -lambda, where the soft-min is a logaddexp: one operation a cell instead of four.
    """
    scores = d / -smoothing
    rows, columns = d.shape[:2]
    zero = torch.zeros_like(scores[0, 0])
    above: list[Tensor] = []
    for row in range(rows):
        cells = [*scores[row].unbind(0), zero]  # columns 1..M+1 of the padded distances
        current = [zero]
        for m, cell in enumerate(cells, start=1):
            best = current[-1]
            if row:
                best = _logaddexp(best, above[m - 1])
                if m in (1, columns + 1):
                    best = _logaddexp(best, above[m])
            current.append(cell + best)
        above = current
    return above[-1] * -smoothing


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    """log(exp a + exp b); written out while exporting, where torch's becomes exactly that and overflows."""
    if torch.compiler.is_exporting():
        return torch.maximum(a, b) + torch.log1p(torch.exp(-(a - b).abs()))
    return torch.logaddexp(a, b)


class OTAM(nn.Module):
    """`otam` as a metric without parameters."""

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Query [Q, T, D], support [C, T, D] -> distances [Q, C]."""
        return otam(query, support)
