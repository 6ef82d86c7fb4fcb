"""What a query is matched against: the gallery's classes as arrays, and the distance that means "unknown"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maclip_runtime.engines.encoder import Encoder, Flags
from maclip_runtime.gallery import EnrolledClip, Gallery, clips_key
from maclip_runtime.gallery.errors import corrupt
from maclip_runtime.gallery.rows import Member
from maclip_runtime.limits.measured import unknown_distance
from maclip_runtime.matching.distances import SAMPLE, left_out, match_all, spread
from maclip_runtime.reading.frames import Floats

# A stream's window over an enrolled clip. A window as long as the action lies wholly within it for one moment only; in
# benchmarks/events.py three quarters of it found more of what happened, with fewer false alarms.
WINDOW_SHARE = 0.75
PROTOTYPE_BATCH = 64  # clips whose prototypes are made again at once


@dataclass(frozen=True)
class Index:
    """The C classes of a gallery at one `version`: prototypes [C, T, D'], text [C, D'], has_text [C].

    `limits` [C] is the distance above which each class's answer is "unknown" (inf: never); `duration_s` the
    enrolled clips' median duration.
    """

    version: tuple[int, int]
    names: tuple[str, ...]
    prototypes: Floats
    text: Floats
    has_text: Flags
    limits: Floats
    duration_s: float

    @property
    def generation(self) -> int:
        """Of the gallery."""
        return self.version[0]

    @property
    def window_s(self) -> float:
        """How much of a stream is looked at at once, unless told otherwise; seconds."""
        return WINDOW_SHARE * self.duration_s


def build_index(gallery: Gallery, encoder: Encoder) -> Index | None:
    """Read the gallery as it stands; None where it has no class. Makes and keeps prototypes that are missing.

    A class's limit is the calibrated one while it was measured with the class's clips as they are, else one for
    all classes measured here on at most `SAMPLE` clips.
    """
    manifest = encoder.bundle.manifest
    if gallery.shapes() - {(manifest.frames, manifest.feature_width)}:
        raise corrupt(gallery.path, "its features have another shape than the bundle's")
    version = gallery.version  # first: a change from here on makes the index stale, not wrong
    members = gallery.members()
    by_clip = class_prototypes(gallery, encoder, members)
    members = [member for member in members if member.id in by_clip]
    if not members:
        return None
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(member.class_name, []).append(member)
    prototypes = np.stack([np.mean([by_clip[one.id] for one in group], axis=0) for group in groups.values()])
    if not np.isfinite(prototypes).all():
        raise corrupt(gallery.path, "its prototypes are not finite")
    text = np.zeros((len(groups), prototypes.shape[-1]), np.float32)
    has_text = np.zeros(len(groups), np.bool_)
    # The text of the newest clip that has one: a later choice replaces an earlier one.
    newest = [next((one.id for one in reversed(group) if one.text_name is not None), None) for group in groups.values()]
    texts = gallery.texts([one for one in newest if one is not None])
    for row, clip_id in enumerate(newest):
        if clip_id in texts:
            text[row], has_text[row] = texts[clip_id], True
    plain = Index(
        version,
        tuple(groups),
        prototypes.astype(np.float32),
        text,
        has_text,
        np.full(len(groups), np.inf, np.float32),
        float(np.median([member.duration_s for member in members])),
    )
    return replace(plain, limits=_limits(gallery, encoder, plain, groups, by_clip))


def make_prototype(encoder: Encoder, clip: EnrolledClip) -> Floats:
    """One clip's prototype, float32 [T, D'], from the features and the text it was enrolled with."""
    return encoder.prototypes(clip.features[None], None if clip.text is None else clip.text[None])[0]


def graphs_key(encoder: Encoder) -> str:
    """Digests of the graphs that a distance depends on beside the contract."""
    return " ".join(encoder.bundle.graph_digest(graph) for graph in ("prototype", "match"))


def class_prototypes(gallery: Gallery, encoder: Encoder, members: Sequence[Member]) -> dict[int, Floats]:
    """Each clip's prototype by clip id, made again where none is kept for this bundle's graph."""
    graph = encoder.bundle.graph_digest("prototype")
    found = gallery.prototypes(graph)
    missing = [member.id for member in members if member.id not in found]
    for start in range(0, len(missing), PROTOTYPE_BATCH):
        version = gallery.version  # before the clips: what is made of them is kept beside them, or not at all
        clips = gallery.clips(ids=missing[start : start + PROTOTYPE_BATCH])
        made = {clip.id: make_prototype(encoder, clip) for clip in clips}
        gallery.keep_prototypes(version, graph, made)
        found.update(made)
    return found


def _limits(
    gallery: Gallery,
    encoder: Encoder,
    index: Index,
    groups: Mapping[str, Sequence[Member]],
    by_clip: Mapping[int, Floats],
) -> Floats:
    graphs = graphs_key(encoder)
    calibrated = {
        name: limit.value
        for name, limit in gallery.limits().items()
        if name in groups and limit.graphs == graphs and limit.clips == clips_key(groups[name])
    }
    measured = None
    if len(calibrated) < len(groups):
        measured = _max_distance(gallery, encoder, index, groups, by_clip)
    unlimited = np.inf if measured is None else measured
    return np.array([calibrated.get(name, unlimited) for name in groups], np.float32)


def _max_distance(
    gallery: Gallery,
    encoder: Encoder,
    index: Index,
    groups: Mapping[str, Sequence[Member]],
    by_clip: Mapping[int, Floats],
) -> float | None:
    """One limit for all classes: as kept for this very gallery, or measured anew and kept."""
    limit = encoder.bundle.manifest.limit
    prior = limit.distance if limit else None
    made_for = f"{index.generation} {prior} {graphs_key(encoder)}"
    kept, value = gallery.measured_limit(made_for)
    if not kept:
        value = _measure(gallery, encoder, index, groups, by_clip, prior)
        gallery.keep_measured_limit(index.version, made_for, value)
    return value


def _measure(
    gallery: Gallery,
    encoder: Encoder,
    index: Index,
    groups: Mapping[str, Sequence[Member]],
    by_clip: Mapping[int, Floats],
    prior: float | None,
) -> float | None:
    """`limits.measured.unknown_distance` of the gallery's own distances; negatives can only lower it.

    Where no class has two clips, negatives set the limit halfway from a clip's distance to itself to the nearest
    negative.
    """
    members = [member for group in groups.values() for member in group]
    clips = gallery.clips(ids=[members[place].id for place in spread(len(members))])
    if not clips:
        return prior
    # By number, not by the clip's class as it was read: another program may have renamed it since.
    owner = {member.id: name for name, group in groups.items() for member in group}
    columns = {clip.id: index.names.index(owner[clip.id]) for clip in clips}
    found = match_all(
        encoder, np.stack([clip.query for clip in clips]), index.prototypes, index.text, index.has_text
    ).distances
    apart = [left_out(encoder, clip, groups[owner[clip.id]], by_clip) for clip in clips]
    own = [distance for distance in apart if distance is not None]
    others = []
    if len(index.names) > 1:
        others = [float(np.delete(row, columns[clip.id]).min()) for clip, row in zip(clips, found, strict=True)]
    limit = unknown_distance(own, others, prior)
    negatives = gallery.negatives()[:SAMPLE]
    if not negatives:
        return limit
    queries = np.stack([clip.query for clip in negatives])
    strangers = match_all(encoder, queries, index.prototypes, index.text, index.has_text).distances.min(axis=1)
    if own:
        lower = unknown_distance(own, strangers.tolist(), prior)
    else:
        itself = [float(row[columns[clip.id]]) for clip, row in zip(clips, found, strict=True)]
        lower = halfway(itself, strangers)
    return lower if limit is None or lower is None else min(limit, lower)


def halfway(itself: Sequence[float], strangers: Floats) -> float:
    """Between a class of one clip, as near as its clip is to itself, and the nearest stranger."""
    return (float(np.median(itself)) + float(strangers.min())) / 2
