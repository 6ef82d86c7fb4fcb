"""From distances to evidence: who is answered right, how surely, and whom each clip helps or harms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maclip_runtime.diagnosis.leaving_out import LeftOut, distances_between
from maclip_runtime.diagnosis.samples import Samples
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.reading.frames import Floats, Indices

RIVALS = 3  # a clip of another class feels a change of a class that is among so many nearest to it
SMALLEST = 1e-30  # a probability that is rounded to 0
NOBODY = -1  # column of a class that cannot be told

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """What leave-one-out says of N clips. NaN and `NOBODY` where it says nothing.

    Attributes:
        own: float32 [N], distance to the own class without the clip; NaN without another clip.
        rival: int64 [N], the nearest other class; `NOBODY` in a gallery of one class.
        rival_distance: float32 [N], inf likewise.
        likeliest: int64 [N], the likeliest other class; `NOBODY` likewise.
        answer: int64 [N], the likeliest of all classes; `NOBODY` where the own or another class is missing.
        margin: float64 [N], probability of the own class less that of `likeliest`.
        odds: float64 [N], logarithm of the probability of `likeliest` over that of the own class.
        outlying: bool [N], whether the clip lies farther from its class than any other clip of it does without it.
        nearer: float64 [N], how much nearer the class's other clips come to it, in the mean, without the clip.
        gains: for each clip, places of clips whose nearest class is right only without it.
        losses: likewise, only with it.
    """

    own: Floats
    rival: Indices
    rival_distance: Floats
    likeliest: Indices
    answer: Indices
    margin: npt.NDArray[np.float64]
    odds: npt.NDArray[np.float64]
    outlying: Flags
    nearer: npt.NDArray[np.float64]
    gains: list[list[int]]
    losses: list[list[int]]

    @property
    def tested(self) -> Flags:
        """bool [N], whether the rest of the gallery could answer the clip."""
        return self.answer != NOBODY

    @property
    def near(self) -> Flags:
        """bool [N], whether the nearest class is the own one."""
        return self.own < self.rival_distance


def evidence_of(encoder: Encoder, samples: Samples, left: Sequence[LeftOut], classes: int) -> Evidence:
    """Weigh what `leave_out` measured in a gallery of that many classes."""
    count = len(left)
    places, owner = np.arange(count), samples.owner
    far = np.stack([one.distances for one in left])
    likely = np.stack([one.probabilities for one in left]).astype(np.float64)
    alone = np.array([not len(one.fellows) for one in left])
    own = np.where(alone, np.float32(np.nan), far[places, owner])
    own_probability = likely[places, owner]
    far[places, owner], likely[places, owner] = np.inf, -1.0
    several = classes > 1
    rival = far.argmin(axis=1) if several else np.full(count, NOBODY)
    likeliest = likely.argmax(axis=1) if several else np.full(count, NOBODY)
    best = likely[places, likeliest] if several else np.zeros(count)
    silent = alone | (not several)
    order = far.argsort(axis=1)[:, : min(RIVALS, classes - 1)]
    found = Evidence(
        own,
        rival,
        far.min(axis=1),
        likeliest,
        np.where(silent, NOBODY, np.where(own_probability >= best, owner, likeliest)),
        np.where(silent, np.nan, own_probability - best),
        np.where(silent, np.nan, np.log(np.maximum(best, SMALLEST)) - np.log(np.maximum(own_probability, SMALLEST))),
        np.zeros(count, np.bool_),
        np.zeros(count),
        [[] for _ in left],
        [[] for _ in left],
    )
    _within_classes(found, left)
    if several:
        _between_classes(encoder, samples, left, far, order, found)
    return found


def _within_classes(found: Evidence, left: Sequence[LeftOut]) -> None:
    """Fill in what each clip does to the others of its class."""
    farthest = np.full(len(left), -np.inf)
    change: list[list[float]] = [[] for _ in left]
    for one in left:
        for fellow, distance in zip(one.fellows.tolist(), one.without.tolist(), strict=False):
            farthest[fellow] = max(farthest[fellow], distance)
            before, after = found.near[one.place], distance < found.rival_distance[one.place]
            change[fellow].append(float(found.own[one.place]) - distance)
            if before != after:
                (found.gains if after else found.losses)[fellow].append(one.place)
    found.outlying[:] = (found.own > farthest) & np.isfinite(farthest)
    found.nearer[:] = [float(np.mean(values)) if values else 0.0 for values in change]


def _between_classes(
    encoder: Encoder, samples: Samples, left: Sequence[LeftOut], far: Floats, order: Indices, found: Evidence
) -> None:
    """Add what each clip does to clips of other classes, of those whose nearest classes its class is among."""
    for column in np.unique(samples.owner):
        touched = np.flatnonzero((order == column).any(axis=1) & ~np.isnan(found.own))
        movable = [one.place for one in left if samples.owner[one.place] == column and len(one.fellows)]
        if not len(touched) or not movable:
            continue
        without = np.stack([samples.prototypes[left[place].fellows].mean(axis=0) for place in movable])
        changed = distances_between(encoder, samples.queries[touched], without)  # (touched, movable)
        rest = far[touched].copy()
        rest[:, column] = np.inf
        after = found.own[touched, None] < np.minimum(rest.min(axis=1)[:, None], changed)
        for row, place in enumerate(touched.tolist()):
            for at in np.flatnonzero(after[row] != found.near[place]):
                (found.gains if after[row, at] else found.losses)[movable[at]].append(place)
