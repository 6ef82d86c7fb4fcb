"""Distances between sequences of frame features (docs/method.md, section 4): plug and play.

A metric takes query [Q, T, D] and support [C, T, D] and returns distances [Q, C]: all classes at once, differentiable,
under `torch.func.vmap` too, and in at least float32. Every file of this folder is imported, so that a file with
`@metric("name")` in it is all that a new metric takes; samples/own_metric.py shows one that lives elsewhere.
"""

from __future__ import annotations

from maclip.metrics.bimhm import bimhm
from maclip.metrics.otam import otam
from maclip.metrics.registry import METRICS, build_metric, metric
from maclip.metrics.trx import TRX
from maclip.registry import import_all

__all__ = ["METRICS", "TRX", "bimhm", "build_metric", "metric", "otam"]

import_all(__name__, __path__)
