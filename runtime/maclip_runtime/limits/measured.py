"""The distance above which an answer is "unknown", measured on a gallery's own clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.gallery import Gallery, clips_key
from maclip_runtime.matching.distances import MAX_SAMPLE, left_out, match_all, sound, spread
from maclip_runtime.matching.index import Index
from maclip_runtime.reading.frames import Floats

# Above this balanced error (0 perfect, 1 chance) the gallery cannot tell its own clips from others.
SEPARABLE = 0.5


def gallery_limits(gallery: Gallery, encoder: Encoder, index: Index, by_clip: Mapping[int, Floats]) -> Floats:
    """The limits [C] of an index; `by_clip`: the prototypes by clip id.

    A class's limit is the calibrated one if its clips and the graphs are those it was calibrated with. The other
    classes share one limit. If training learned the bundle's limit, that is it: on drawn streams a limit measured on
    the gallery was worse, alone or beside it (`python -m benchmarks.events`, "limit rules"). Else it is measured on at
    most `MAX_SAMPLE` clips. Negatives can only lower it. It is kept in the gallery.
    """
    graphs = graphs_key(encoder)
    calibrated = {
        name: limit.value
        for name, limit in gallery.limits().items()
        if name in index.groups and limit.graphs == graphs and limit.clips == clips_key(index.groups[name])
    }
    shared = None
    if len(calibrated) < len(index.names):
        shared = _kept_or_measured(gallery, encoder, index, by_clip)
    return np.array([calibrated.get(name, np.inf if shared is None else shared) for name in index.names], np.float32)


def best_limit(own: Sequence[float], others: Sequence[float], prior: float | None) -> float | None:
    """The limit that fits what was measured on a gallery; None if nothing is known.

    - Both `own` and `others` known and separable: the cut with the fewest errors (share of `own` refused plus share
      of `others` accepted). Of the cuts that do equally well the prior, if it lies among them, else the middle.
    - Both known, not separable (classes alike, as an action and its reverse): the nearest other class says nothing
      about strangers. The prior, if it accepts most own clips; else as far as the farthest own clip.
    - Only `others`: the prior, but no farther than the farthest other; without a prior, their median.
    - Only `own` (one class): the prior or, if farther, the farthest own clip.

    Args:
        own: each enrolled clip's distance to its own class with the clip left out (classes of two clips or more).
        others: each clip's distance to the nearest other class, which is how a clip of no enrolled class looks.
        prior: the bundle's limit, None if it has none.
    """
    if own and others:
        return _best_cut(np.sort(np.asarray(own)), np.sort(np.asarray(others)), prior)
    if others:
        return float(np.median(others)) if prior is None else min(prior, max(others))
    if own:
        return max(own) if prior is None else max(prior, max(own))
    return prior


@dataclass(frozen=True)
class OwnDistances:
    """Distances of at most `MAX_SAMPLE` of a gallery's clips.

    own: to its own class without the clip, of clips in classes of two or more.
    others: of each clip to the nearest other class; empty with one class.
    itself: of each clip to its class with the clip in it.
    """

    own: list[float]
    others: list[float]
    itself: list[float]


def own_distances(gallery: Gallery, encoder: Encoder, index: Index, by_clip: Mapping[int, Floats]) -> OwnDistances:
    """How far a gallery's clips lie from its classes; for the arguments see `gallery_limits`."""
    groups = index.groups
    members = [member for group in groups.values() for member in group]
    clips = sound(gallery.clips(ids=[members[place].id for place in spread(len(members))]))
    if not clips:
        return OwnDistances([], [], [])
    # By number, not by the clip's class as it was read: another program may have renamed it since.
    owner = {member.id: name for name, group in groups.items() for member in group}
    columns = [index.names.index(owner[clip.id]) for clip in clips]
    queries = np.stack([clip.query for clip in clips])
    found = match_all(encoder, queries, index.prototypes, index.text, index.has_text).distances
    apart = [left_out(encoder, clip, groups[owner[clip.id]], by_clip) for clip in clips]
    own = [distance for distance in apart if distance is not None]
    others = []
    if len(index.names) > 1:
        others = [float(np.delete(row, column).min()) for row, column in zip(found, columns, strict=True)]
    return OwnDistances(own, others, [float(row[column]) for row, column in zip(found, columns, strict=True)])


def halfway(itself: Sequence[float], strangers: Floats) -> float:
    """The limit of a class of one clip: halfway from the clip's distance to itself to the nearest stranger."""
    return (float(np.median(itself)) + float(strangers.min())) / 2


def graphs_key(encoder: Encoder) -> str:
    """Digests of the graphs that a distance depends on, besides the contract."""
    return " ".join(encoder.bundle.graph_digest(graph) for graph in ("prototype", "match"))


def _kept_or_measured(gallery: Gallery, encoder: Encoder, index: Index, by_clip: Mapping[int, Floats]) -> float | None:
    """The limit of all classes that are not calibrated: as kept for this very gallery, or measured anew and kept."""
    limit = encoder.bundle.manifest.limit
    prior = limit.distance if limit else None
    made_for = f"{index.generation} {prior} {limit and limit.learned} {graphs_key(encoder)}"
    kept, value = gallery.measured_limit(made_for)
    if not kept:
        value = _measured(gallery, encoder, index, by_clip)
        gallery.keep_measured_limit(index.version, made_for, value)
    return value


def _measured(gallery: Gallery, encoder: Encoder, index: Index, by_clip: Mapping[int, Floats]) -> float | None:
    """The learned limit, or `best_limit` of the gallery's own distances; negatives can only lower it.

    If no class has two clips, negatives set the limit as in `halfway`.
    """
    known = encoder.bundle.manifest.limit
    prior = known.distance if known else None
    negatives = sound(gallery.negatives())[:MAX_SAMPLE]
    if known and known.learned and not negatives:
        return prior
    seen = own_distances(gallery, encoder, index, by_clip)
    if not seen.itself:
        return prior
    limit = prior if known and known.learned else best_limit(seen.own, seen.others, prior)
    if not negatives:
        return limit
    queries = np.stack([clip.query for clip in negatives])
    strangers = match_all(encoder, queries, index.prototypes, index.text, index.has_text).distances.min(axis=1)
    lower = best_limit(seen.own, strangers.tolist(), prior) if seen.own else halfway(seen.itself, strangers)
    return lower if limit is None or lower is None else min(limit, lower)


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
