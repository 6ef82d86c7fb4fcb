"""Distances between sequences of frame features (docs/method.md, section 4).

A metric takes query [Q, T, D] and support [C, T, D] and returns distances [Q, C]: all classes at once, differentiable,
also under `torch.func.vmap`, in float32 or wider. Every file of this folder is imported, so a new metric is one file
with `@metric("name")` in it. docs/extending.md shows how; samples/own_metric.py is a metric outside the package.
"""

from __future__ import annotations

from maclip.metrics.bimhm import bimhm
from maclip.metrics.otam import otam
from maclip.metrics.registry import METRICS, build_metric, metric, takes_unit_support
from maclip.metrics.trx import TRX
from maclip.registry import import_all

__all__ = ["METRICS", "TRX", "bimhm", "build_metric", "metric", "otam", "takes_unit_support"]

import_all(__name__, __path__)
