"""Cosines between few query clips and many classes, which most metrics start from.

The many vectors are neither normalised nor transposed, which would copy them: the product is divided by their lengths,
unless they have length 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-12  # vectors shorter than this have cosine 0 with everything


def cosines(few: Tensor, many: Tensor, *, unit: bool = False) -> Tensor:
    """Cosines of the rows of `few` [K, D] and `many` [N, D] -> [K, N], in float32 or wider.

    unit: the rows of `many` have length 1, or are zero.
    """
    few, many = wide(few), wide(many)
    product = _product(many, _unit(few).T).T
    return product if unit else product * _one_over_length(many).T


def frame_distances(query: Tensor, support: Tensor, *, unit_support: bool = False) -> Tensor:
    """d_ij = 1 - cos(query frame i, support frame j): [Q, T, D], [C, M, D] -> [T, M, Q, C], in float32 or wider.

    The clip axes come last: they are longer than the frame axes, so elementwise steps run over contiguous rows.

    unit_support: the vectors of `support` have length 1, or are zero. A device normalises its classes once: their
        lengths take as long as all the rest of matching.
    """
    query, support = wide(query), wide(support)
    clips, frames = query.shape[:2]
    unit = _unit(query.transpose(0, 1)).flatten(0, 1)  # (T*Q, D)
    product = _product(support.flatten(0, 1), unit.T)  # (C*M, T*Q)
    # Move only the class axis, which onnxruntime does fast; the frame axes are swapped at the end.
    product = product.unflatten(0, support.shape[:2]).permute(1, 2, 0)  # (M, T*Q, C)
    d = 1 - (product if unit_support else product * _one_over_length(support).permute(1, 2, 0))
    return d.unflatten(1, (frames, clips)).transpose(0, 1)


def wide(x: Tensor) -> Tensor:
    """`x` itself, or a float32 copy of half precision."""
    return x.float() if x.element_size() < 4 else x


def _product(a: Tensor, b: Tensor) -> Tensor:
    """`a` @ `b` in their own precision, even under autocast: lower precision could swap two close classes."""
    if not torch.is_autocast_enabled(a.device.type):
        return a @ b
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def _unit(rows: Tensor) -> Tensor:
    return rows * _one_over_length(rows)


def _one_over_length(rows: Tensor) -> Tensor:
    """[..., D] -> [..., 1]. A square and a sum: onnxruntime's norm takes up to 2.5 times as long (1.31, CPU)."""
    return (rows * rows).sum(-1, keepdim=True).clamp_min(TINY**2).rsqrt()
