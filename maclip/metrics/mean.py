"""Distance of the mean features: the plainest baseline, which ignores the order of frames."""

from __future__ import annotations

from torch import Tensor

from maclip.metrics.cosine import cosines, wide
from maclip.metrics.registry import metric


@metric("mean")
def mean(query: Tensor, support: Tensor) -> Tensor:
    """T * (1 - cos) of the means over time: [Q, T, D], [C, T, D] -> distances [Q, C].

    Times T, so that distances are as large as those of the other metrics, which are sums over frames.
    """
    return query.shape[1] * (1 - cosines(wide(query).mean(1), wide(support).mean(1)))
