"""Where "unknown" begins, measured on a gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maclip_runtime.reading.frames import Floats

# Above this balanced error (0 perfect, 1 chance) the gallery cannot tell its own clips from others.
SEPARABLE = 0.5


def unknown_distance(own: Sequence[float], others: Sequence[float], prior: float | None) -> float | None:
    """The distance above which an answer is "unknown", measured on a gallery; None where nothing is known.

    `own`: each enrolled clip's distance to its own class with the clip left out (classes of two clips or
    more). `others`: each clip's distance to the nearest other class, which is how a clip of no enrolled class
    looks. `prior` is the bundle's own figure.

    - Both known and separable: the cut with the fewest errors (share of `own` refused plus share of `others`
      accepted). Of the cuts that do equally well the prior, if it lies among them, else the middle.
    - Both known, not separable (classes alike, as an action and its reverse): the nearest other class says
      nothing about strangers. The prior, if it accepts most own clips; else as far as the farthest own clip.
    - Only `others`: the prior, but no farther than the farthest other; without a prior, their median.
    - Only `own` (one class): the prior or, if farther, the farthest own clip.
    """
    if own and others:
        return _best_cut(np.sort(np.asarray(own)), np.sort(np.asarray(others)), prior)
    if others:
        return float(np.median(others)) if prior is None else min(prior, max(others))
    if own:
        return max(own) if prior is None else max(prior, max(own))
    return prior


def _best_cut(own: Floats, others: Floats, prior: float | None) -> float:
    values = np.unique(np.concatenate([own, others]))
    # Cutting at v accepts distances <= v; any cut in [v, next) does as well.
    refused = 1 - np.searchsorted(own, values, side="right") / len(own)
    accepted = np.searchsorted(others, values, side="right") / len(others)
    errors = refused + accepted
    if errors.min() > SEPARABLE:
        return prior if prior is not None and prior >= np.median(own) else float(own[-1])
    best = int(np.flatnonzero(errors <= errors.min() + 1e-9)[-1])  # a tie: rather accept
    low = float(values[best])
    if best + 1 == len(values):
        return low if prior is None else max(low, prior)
    high = float(values[best + 1])
    return (low + high) / 2 if prior is None or not low <= prior < high else prior
