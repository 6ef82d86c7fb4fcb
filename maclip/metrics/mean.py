"""Mean features: what remains when the order of frames is not looked at. The plainest baseline."""

from __future__ import annotations

from torch import Tensor

from maclip.metrics.cosine import cosines, wide
from maclip.metrics.registry import metric


@metric("mean")
def mean(query: Tensor, support: Tensor) -> Tensor:
    """T * (1 - cos) of the means over time: [Q, T, D], [C, T, D] -> distances [Q, C].

    Times T, so that the distances are of the size of the other metrics', which add up over frames.
    """
    return query.shape[1] * (1 - cosines(wide(query).mean(1), wide(support).mean(1)))
