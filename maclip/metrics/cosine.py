"""The frame-to-frame distances that every metric starts from."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def frame_distances(query: Tensor, support: Tensor) -> Tensor:
    """d_ij = 1 - cos(query frame i, support frame j): [Q, T, D], [C, M, D] -> [T, M, Q, C], at least float32.

    The clip axes come last: they are long and the frames few, so elementwise steps run over contiguous rows.
    """
    q = F.normalize(query, dim=-1)
    s = F.normalize(support, dim=-1)
    cosine = q.transpose(0, 1).unsqueeze(1) @ s.permute(1, 2, 0).unsqueeze(0)  # (T, 1, Q, D) @ (1, M, D, C)
    if cosine.element_size() < 4:
        cosine = cosine.float()
    return 1 - cosine
