"""Metrics by name. A new metric is one file with `@metric("name")`; nothing else changes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from torch import Tensor, nn

from maclip.config import MetricConfig
from maclip.registry import Registry

Distances = Callable[..., Tensor]  # query [Q, T, D], support [C, T, D] -> [Q, C]
Metric = TypeVar("Metric", bound="Distances | type[nn.Module]")

UNIT_SUPPORT = "unit_support"

METRICS: Registry[Distances | type[nn.Module]] = Registry("metric")


def metric(name: str) -> Callable[[Metric], Metric]:
    """Register under `name` a function from query [Q, T, D] and support [C, T, D] to distances [Q, C].

    A metric with parameters is an `nn.Module` class whose call does the same. It is built with (width D, frames T)
    and trained with the model; its tensors are `metric.*` in a run.

    A parameter named like a field of `MetricConfig` (`softmin_lambda`) gets the value of that field. A function that
    compares by cosine may take `unit_support`, which is True where the vectors of `support` have length 1 already; an
    exported bundle then normalises its classes once instead of in each answer.
    """
    return METRICS.register(name)


def build_metric(config: MetricConfig, width: int, frames: int) -> nn.Module:
    """The metric of `config` for clips of `frames` features of `width`. Raises `metric-unknown`."""
    found = METRICS.find(config.kind)
    wanted = inspect.signature(found).parameters
    options = {field.name: getattr(config, field.name) for field in fields(config) if field.name in wanted}
    return found(width, frames, **options) if isinstance(found, type) else _Function(found, options)


def takes_unit_support(metric: nn.Module) -> bool:
    """Whether a metric of `build_metric` can be told that support vectors have length 1."""
    return isinstance(metric, _Function) and UNIT_SUPPORT in inspect.signature(metric.distances).parameters


class _Function(nn.Module):
    """A metric without parameters."""

    def __init__(self, distances: Distances, options: dict[str, Any]) -> None:
        super().__init__()
        self.distances, self.options = distances, options

    def forward(self, query: Tensor, support: Tensor, **told: bool) -> Tensor:
        return self.distances(query, support, **self.options, **told)
