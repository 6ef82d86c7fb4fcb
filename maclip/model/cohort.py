"""A cohort: training classes that every query is compared with beside the enrolled ones (docs/method.md, section 8)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

NEAREST = 5  # classes of the cohort that count; the nearest alone was worse on streams

Metric = Callable[[Tensor, Tensor], Tensor]


class Cohort(nn.Module):
    """Takes from a query's distances what is usual for it: how far it lies from classes that are not enrolled.

    A query that has near neighbours among them lies near everything, so its distances say less. This is score
    normalisation by a cohort, as speaker verification knows it (Auckenthaler et al., "Score normalization for
    text-independent speaker verification systems", 2000). All distances of a query change by one number: their order
    stays, and they become comparable with those of other queries and with a limit.

    prototypes: of K classes, [K, T, D'].
    weight: w of the distance to the cohort.
    typical: that distance in the mean of many queries; such a query's distances stay as they are.
    """

    prototypes: Tensor

    def __init__(self, prototypes: Tensor, weight: float, typical: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("prototypes", prototypes)
        self.weight, self.typical = weight, typical

    def distance(self, metric: Metric, queries: Tensor) -> Tensor:
        """Mean distance of each query to the `NEAREST` classes of the cohort: [Q, T, D'] -> [Q]."""
        distances = metric(queries, self.prototypes)
        nearest = min(NEAREST, self.prototypes.shape[0])
        return distances.topk(nearest, largest=False).values.mean(-1)

    def shift(self, metric: Metric, queries: Tensor) -> Tensor:
        """What is added to all distances of each query: w (typical - `distance`), [Q]."""
        return self.weight * (self.typical - self.distance(metric, queries))
