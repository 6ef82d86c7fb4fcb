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
    column; the first row is a plain cumulative sum and column 0 stays zero.
    """
    rows, columns = d.shape[:2]
    zero = torch.zeros_like(d[0, 0])
    above: list[Tensor] = []
    for row in range(rows):
        cells = [*d[row].unbind(0), zero]  # columns 1..M+1 of the padded distances
        current = [zero]
        for m, cell in enumerate(cells, start=1):
            if row == 0:
                current.append(current[-1] + cell)
                continue
            options = [above[m - 1], current[-1]]
            if m in (1, columns + 1):
                options.append(above[m])
            current.append(cell + _softmin(options, smoothing))
        above = current
    return above[-1]


def _softmin(options: list[Tensor], smoothing: float) -> Tensor:
    return -smoothing * torch.logsumexp(torch.stack(options) / -smoothing, dim=0)


class OTAM(nn.Module):
    """`otam` as a metric without parameters."""

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Query [Q, T, D], support [C, T, D] -> distances [Q, C]."""
        return otam(query, support)
