"""TRX: temporal-relational cross-transformers (docs/method.md, section 4; Perrett et al., CVPR 2021).

As in the paper and its code: tuples of frames in time order, sine-cosine positions scaled by 0.1 and dropout 0.1 on the
frames, keys with layer norm, attention scaled by the square root of the width, distances of pairs and triples summed.
Different here: a class has one prototype clip, the mean of its shots as for all metrics, where the paper attends over
the tuples of all shots; and values have no bias, which would cancel out of the distance.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maclip.metrics.cosine import wide
from maclip.metrics.registry import metric
from maclip_runtime.errors import MaclipError

TUPLE_WIDTH = 1152  # of keys and values
DROPOUT = 0.1
POSITION_SCALE = 0.1


@metric("trx")
class TRX(nn.Module):
    """Squared error between each query tuple and the class's tuples it attends to, summed and divided by their number.

    `sizes`: frames in a tuple; (2,) is all pairs in time order. Raises `metric-frames` if a clip has fewer frames.
    """

    positions: Tensor  # [T, D]

    def __init__(self, width: int, frames: int, sizes: tuple[int, ...] = (2,)) -> None:
        super().__init__()
        if frames < max(sizes):
            raise MaclipError(
                "metric-frames",
                f"TRX compares tuples of {max(sizes)} frames, and clips have {frames}.",
                "Choose more --frames or another --metric.",
            )
        self.relations = nn.ModuleList(_Relation(width, frames, size) for size in sizes)
        self.register_buffer("positions", POSITION_SCALE * _positions(frames, width), persistent=False)

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Query [Q, T, D], support [C, T, D] -> distances [Q, C], in float32 or wider."""
        query, support = (
            F.dropout(wide(clips) + wide(self.positions), DROPOUT, self.training) for clips in (query, support)
        )
        distances: Tensor = sum(relation(query, support) for relation in self.relations)  # type: ignore[assignment]
        return distances


@metric("trx-triples")
class TRXTriples(TRX):
    """TRX with pairs and triples, the best of its paper."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__(width, frames, (2, 3))


class _Relation(nn.Module):
    """The tuples of one size. The linear map of a tuple is a sum of maps of its frames, each computed once."""

    tuples: Tensor

    def __init__(self, width: int, frames: int, size: int) -> None:
        super().__init__()
        self.size = size
        tuples = torch.tensor(list(itertools.combinations(range(frames), size)))  # (P, size)
        self.register_buffer("tuples", tuples, persistent=False)
        self.key = nn.Linear(width, size * TUPLE_WIDTH, bias=False)
        self.key_bias = nn.Parameter(torch.empty(TUPLE_WIDTH))
        self.key_norm = nn.LayerNorm(TUPLE_WIDTH)
        self.value = nn.Linear(width, size * TUPLE_WIDTH, bias=False)
        bound = 1 / math.sqrt(size * width)  # as nn.Linear would start on the concatenation
        for parameter in (self.key.weight, self.key_bias, self.value.weight):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """[Q, T, D], [C, T, D] -> [Q, C]."""
        (query_keys, query_values), (keys, values) = self._project(query), self._project(support)
        queries, tuples = query_keys.shape[:2]
        # All classes in one product, with the query's tuples last, so that nothing large is transposed.
        scores = keys @ (query_keys.flatten(0, 1) / math.sqrt(TUPLE_WIDTH)).T  # (C, P, Q*P)
        attention = wide(scores).softmax(1)
        attended = wide(attention.transpose(1, 2) @ values)  # (C, Q*P, E)
        error = query_values.flatten(0, 1) - attended
        distances = (error * error).sum(-1).unflatten(1, (queries, tuples)).sum(-1)  # (C, Q)
        return distances.T / tuples

    def _project(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Clips [B, T, D] -> keys, values [B, P, E] of their tuples."""
        key = self._of_tuples(F.linear(clips, wide(self.key.weight))) + wide(self.key_bias)
        key = F.layer_norm(key, (TUPLE_WIDTH,), wide(self.key_norm.weight), wide(self.key_norm.bias))
        return key, self._of_tuples(F.linear(clips, wide(self.value.weight)))

    def _of_tuples(self, frames: Tensor) -> Tensor:
        """Each frame's share of each position in a tuple [B, T, size*E] -> sums for each tuple [B, P, E]."""
        places = wide(frames).unflatten(-1, (self.size, TUPLE_WIDTH)).unbind(2)
        first, *others = (place.index_select(1, at) for place, at in zip(places, self.tuples.unbind(1), strict=True))
        return sum(others, first)


def _positions(frames: int, width: int) -> Tensor:
    """Sines on even and cosines on odd columns: [T, D] (Vaswani et al., 2017)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(frames)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
