"""OTAM: ordered temporal alignment by soft-min dynamic programming (docs/method.md, section 4; Cao et al., 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from maclip.metrics.cosine import frame_distances
from maclip.metrics.registry import metric


@metric("otam")
def otam(query: Tensor, support: Tensor, softmin_lambda: float = 0.5, *, unit_support: bool = False) -> Tensor:
    """Alignment distances, both directions summed: query [Q, T, D], support [C, M, D] -> [Q, C].

    Computed in float32 or wider for any input, so half precision is safe.

    unit_support: as in `frame_distances`.
    """
    d = frame_distances(query, support, unit_support=unit_support)  # (T, M, Q, C)
    if d.shape[0] == d.shape[1]:  # both directions in one pass
        return _align(torch.stack([d, d.transpose(0, 1)], dim=2), softmin_lambda).sum(0)
    return _align(d, softmin_lambda) + _align(d.transpose(0, 1), softmin_lambda)


def _align(d: Tensor, smoothing: float) -> Tensor:
    """The last entry of the cumulative distance: d [L, M, ...] -> [...].

    With R = exp(-D/lambda) and e = exp(-d/lambda) the recurrence is linear: R(l,m) = e(l,m) (R(l,m-1) +
    R(l-1,m-1)), and R(l-1,m) too in the columns 1 and M+1. Divided by the products of its row's e, which is
    W(l,m) = R(l,m) / (e(l,1) .. e(l,m)), a row is the running sum of the row above it times a gain:

        W(l,m) = 2 + W(l-1,1) e(l-1,1) + sum over k < m of W(l-1,k) g(l,k)
        g(l,k) = product over i <= k of e(l-1,i) / e(l,i)

    and in column M+1, whose e is 1, W(l-1,M+1) g(l,M) more. All W are at least 1 and nothing cancels, so float32 is
    accurate to rounding unless it overflows; long clips use the same sums of logarithms instead.
    """
    rows, columns = d.shape[:2]
    scores = (d / -smoothing).cumsum(1)
    if rows == 1:
        return scores[0, -1] * -smoothing
    ratios = scores[:-1] - scores[1:]  # log g
    gains = torch.cat([scores[:-1, :1], ratios, ratios[:, -1:]], dim=1)  # (L-1, M+2, ...)
    short = max(rows, columns) * (2 / smoothing + math.log(4)) < math.log(torch.finfo(d.dtype).max)
    total = (_sums if short else _sums_of_logs)(gains, columns)
    return (scores[-1, -1] + total) * -smoothing


def _sums(gains: Tensor, columns: int) -> Tensor:
    """log W of the last row and column, for gains small enough to be multiplied: [L-1, M+2, ...] -> [...].

    All W are below exp(M * 2/lambda) (d is at most 2) times the number of ways through the cells, below 4^M.
    """
    *above, last = gains.exp().unbind(0)
    order = _order(columns, gains)
    w = torch.ones_like(last)  # W(1), W(1), .., W(M), W(M+1)
    for gain in above:
        w = ((w * gain).cumsum(0) + 2).index_select(0, order)
    return ((w * last).sum(0) + 2).log()


def _sums_of_logs(gains: Tensor, columns: int) -> Tensor:
    """The same for gains of any size."""
    two = torch.full_like(gains[0, :1], math.log(2))
    order = _order(columns, gains) + 1
    w = torch.zeros_like(gains[0])
    for gain in gains.unbind(0):
        sums = torch.cat([two, w + gain])
        reach = 1
        while reach < len(sums):  # running log-sum-exp by doubling
            sums = torch.cat([sums[:reach], _logaddexp(sums[reach:], sums[:-reach])])
            reach *= 2
        w = sums.index_select(0, order)
    return w[-1]


def _order(columns: int, like: Tensor) -> Tensor:
    """Indices of W(1), W(1), .., W(M), W(M+1) in a row's running sums, whose last but one is not a W."""
    return torch.tensor([0, *range(columns), columns + 1], device=like.device)


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    """log(exp a + exp b), in a form that does not overflow when exported: torch's own is exported literally."""
    if torch.compiler.is_exporting():
        return torch.maximum(a, b) + torch.log1p(torch.exp(-(a - b).abs()))
    return torch.logaddexp(a, b)
