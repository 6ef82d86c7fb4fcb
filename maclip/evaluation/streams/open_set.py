"""How well a number, larger for strangers, tells clips of enrolled classes from clips of others."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

RECALL = 0.95


def auroc(known: Numbers, strangers: Numbers) -> float:
    """The chance that a stranger's number is larger than a known clip's, ties counting half."""
    ordered = np.sort(known)
    below = np.searchsorted(ordered, strangers, side="left") + np.searchsorted(ordered, strangers, side="right")
    return float(below.sum() / 2 / len(known) / len(strangers))


def strangers_passing(known: Numbers, strangers: Numbers) -> float:
    """The share of strangers that pass where `RECALL` of the known do."""
    limit = np.sort(known)[math.ceil(RECALL * len(known)) - 1]
    return float((strangers <= limit).mean())
