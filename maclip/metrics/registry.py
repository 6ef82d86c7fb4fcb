"""The metrics by name. A new one is a file that says `@metric("name")`; nothing else has to know of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from maclip_runtime.errors import MaclipError

Distances = Callable[[Tensor, Tensor], Tensor]  # query [Q, T, D], support [C, T, D] -> [Q, C]
Metric = TypeVar("Metric", bound="Distances | type[nn.Module]")

METRICS: dict[str, Distances | type[nn.Module]] = {}


def metric(name: str) -> Callable[[Metric], Metric]:
    """Register under `name` a function from query [Q, T, D] and support [C, T, D] to distances [Q, C].

    Or, for a metric with parameters, an `nn.Module` class whose call does the same; it is built with (width D,
    frames T), is trained with the model, and its tensors are `metric.*` in a run.
    """

    def register(made: Metric) -> Metric:
        METRICS[name] = made
        return made

    return register


def build_metric(name: str, width: int, frames: int) -> nn.Module:
    """The metric called `name` for clips of `frames` features of `width`. Raises `metric-unknown`."""
    if name not in METRICS:
        raise MaclipError("metric-unknown", f"There is no metric {name!r}.", f"Choose one of: {', '.join(METRICS)}.")
    found = METRICS[name]
    return found(width, frames) if isinstance(found, type) else _Function(found)


class _Function(nn.Module):
    """A metric without parameters."""

    def __init__(self, distances: Distances) -> None:
        super().__init__()
        self.distances = distances

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        return self.distances(query, support)
