"""Distances between sequences of frame features (method.md section 4): plug and play.

A metric is an `nn.Module` whose call takes query [Q, T, D] and support [C, T, D] and returns distances [Q, C].
"""

from __future__ import annotations

from torch import nn

from maclip.metrics.bimhm import BiMHM, bimhm
from maclip.metrics.otam import OTAM, otam
from maclip_runtime.errors import MaclipError

METRICS: dict[str, type[nn.Module]] = {"otam": OTAM, "bimhm": BiMHM}

__all__ = ["METRICS", "OTAM", "BiMHM", "bimhm", "build_metric", "otam"]


def build_metric(name: str) -> nn.Module:
    """The metric called `name`. Raises `metric-unknown`."""
    if name not in METRICS:
        raise MaclipError("metric-unknown", f"There is no metric {name!r}.", f"Choose one of: {', '.join(METRICS)}.")
    return METRICS[name]()
