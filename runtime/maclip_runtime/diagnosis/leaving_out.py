"""Leave-one-out over a gallery: how each clip is answered by the rest, and by the rest without one clip more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime.diagnosis.samples import Samples
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.matching.distances import match_all
from maclip_runtime.matching.index import Index
from maclip_runtime.reading.frames import Floats, Indices

MAX_FELLOWS = 50  # of a class with more clips, leaving out one more changes nothing that could be told from chance
MAX_STEPS = 8  # clips a class up to which the learning curve is measured
MAX_SUBSETS = 6  # of each size

Progress = Callable[[int, int], None]  # clips done, clips in all


@dataclass(frozen=True)
class LeftOut:
    """How the rest of the gallery answers one clip: its class is made of its other clips, its `fellows`.

    Attributes:
        place: the clip's, in `Samples.clips`.
        fellows: places of the class's clips that show something else; empty: its own class cannot answer.
        distances: float32 [C], to the classes; its own class's is meaningless without fellows.
        probabilities: float32 [C], likewise.
        without: float32 [fellows], to its own class without one of the fellows; empty where that was not measured.
        by_count: to its own class of 1, 2, ... of the fellows, for several choices of them.
    """

    place: int
    fellows: Indices
    distances: Floats
    probabilities: Floats
    without: Floats
    by_count: dict[int, Floats] = field(default_factory=dict)


def leave_out(encoder: Encoder, index: Index, samples: Samples, progress: Progress | None = None) -> list[LeftOut]:
    """Leave out each of the N clips in turn. The answers are the recogniser's own, made by the bundle's match graph."""
    members = [np.flatnonzero(samples.owner == column) for column in range(len(index.names))]
    prototypes = index.prototypes.copy()
    found = []
    for place, column in enumerate(samples.owner.tolist()):
        group = members[column]
        fellows = group[samples.shown[group] != samples.shown[place]]
        query = samples.queries[place][None]
        if len(fellows):
            prototypes[column] = samples.prototypes[fellows].mean(axis=0)
        match = encoder.match(query, prototypes, index.text, index.has_text)
        prototypes[column] = index.prototypes[column]
        found.append(
            LeftOut(
                place,
                fellows,
                match.distances[0],
                match.probabilities[0],
                *_with_fewer(encoder, samples, place, fellows, float(match.distances[0, column])),
            )
        )
        if progress:
            progress(place + 1, len(samples.owner))
    return found


def _with_fewer(
    encoder: Encoder, samples: Samples, place: int, fellows: Indices, distance: float
) -> tuple[Floats, dict[int, Floats]]:
    """Distances of a clip to its class made of some of the fellows: without each in turn, and by their number."""
    count = len(fellows)
    one_less = 1 < count <= MAX_FELLOWS
    subsets: dict[int, list[Sequence[int]]] = {}
    rng = np.random.default_rng(place)
    for size in range(1, min(count, MAX_STEPS + 1)):
        if size == 1 and count <= MAX_SUBSETS:
            subsets[size] = [[one] for one in range(count)]
        elif size < count - 1 or not one_less:
            subsets[size] = [rng.permutation(count)[:size].tolist() for _ in range(MAX_SUBSETS)]
    made = samples.prototypes[fellows]
    rows = [(made.sum(axis=0)[None] - made) / (count - 1)] if one_less else []
    rows += [np.stack([made[chosen].mean(axis=0) for chosen in sets]) for sets in subsets.values()]
    far = np.zeros(0, np.float32)
    if rows:
        far = distances_between(encoder, samples.queries[place][None], np.concatenate(rows))[0]
    without, far = np.split(far, [count]) if one_less else (np.zeros(0, np.float32), far)
    by_count: dict[int, Floats] = {}
    for size, sets in subsets.items():
        by_count[size], far = np.split(far, [len(sets)])
    if one_less:
        by_count.setdefault(count - 1, without)
    if 0 < count <= MAX_STEPS + 1:
        by_count[count] = np.array([distance], np.float32)
    return without, by_count


def distances_between(encoder: Encoder, queries: Floats, prototypes: Floats) -> Floats:
    """Distances [n, P] of queries [n, T, D'] to prototypes [P, T, D']. A class's text has no part in a distance."""
    no_text = np.zeros((len(prototypes), prototypes.shape[-1]), np.float32), np.zeros(len(prototypes), np.bool_)
    return match_all(encoder, queries, prototypes, *no_text).distances
