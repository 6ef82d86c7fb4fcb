"""What a query is matched against: the gallery's classes as arrays, and the distance that means "unknown"."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from maclip_runtime.decisions import unknown_distance
from maclip_runtime.encoder import Encoder, Flags
from maclip_runtime.frames import Floats
from maclip_runtime.gallery import EnrolledClip, Gallery

THRESHOLD = "unknown_distance"


@dataclass(frozen=True)
class Index:
    """The C classes of a gallery at one `generation`: prototypes [C, T, D'], text [C, D'], has_text [C].

    `limits` [C] is the distance above which each class's answer is "unknown" (inf: never); `duration_s` the
    enrolled clips' median duration.
    """

    generation: int
    names: tuple[str, ...]
    prototypes: Floats
    text: Floats
    has_text: Flags
    limits: Floats
    duration_s: float


def build_index(gallery: Gallery, encoder: Encoder) -> Index | None:
    """Read the gallery as it stands; None where it has no class. Makes and keeps prototypes that are missing."""
    generation = gallery.generation  # first: a change from here on makes the index stale, not wrong
    clips = gallery.clips()
    if not clips:
        return None
    by_clip = _prototypes(gallery, encoder, clips)
    names = tuple(dict.fromkeys(clip.class_name for clip in clips))
    members = [[clip for clip in clips if clip.class_name == name] for name in names]
    prototypes = np.stack([np.mean([by_clip[clip.id] for clip in group], axis=0) for group in members])
    texts = [_class_text(group) for group in members]
    text = np.zeros((len(names), prototypes.shape[-1]), np.float32)
    for row, feature in enumerate(texts):
        if feature is not None:
            text[row] = feature
    has_text = np.array([feature is not None for feature in texts])
    plain = Index(
        generation,
        names,
        prototypes.astype(np.float32),
        text,
        has_text,
        np.full(len(names), np.inf, np.float32),
        float(np.median([clip.duration_s for clip in clips])),
    )
    limit = _max_distance(gallery, encoder, plain, clips, by_clip)
    return replace(plain, limits=np.full(len(names), np.inf if limit is None else limit, np.float32))


def _prototypes(gallery: Gallery, encoder: Encoder, clips: list[EnrolledClip]) -> dict[int, Floats]:
    """Each clip's prototype by clip id, made again where none is kept for this bundle's graph."""
    graph = encoder.bundle.graph_digest("prototype")
    kept = gallery.prototypes(graph)
    made = {clip.id: make_prototype(encoder, clip) for clip in clips if clip.id not in kept}
    if made:
        gallery.keep_prototypes(graph, made)
    return {**kept, **made}


def make_prototype(encoder: Encoder, clip: EnrolledClip) -> Floats:
    """One clip's prototype, float32 [T, D'], from the features and the text it was enrolled with."""
    return encoder.prototypes(clip.features[None], None if clip.text is None else clip.text[None])[0]


def _class_text(clips: list[EnrolledClip]) -> Floats | None:
    """The text feature of the newest clip that has one: a later choice replaces an earlier one."""
    return next((clip.text for clip in reversed(clips) if clip.text is not None), None)


def _max_distance(
    gallery: Gallery, encoder: Encoder, index: Index, clips: list[EnrolledClip], by_clip: dict[int, Floats]
) -> float | None:
    """The kept threshold, or measured anew (`decisions.unknown_distance` says how)."""
    unknown = encoder.bundle.manifest.unknown
    prior = unknown.distance if unknown else None
    graphs = [encoder.bundle.graph_digest(graph) for graph in ("prototype", "match")]
    made_for = f"{index.generation} {prior} {' '.join(graphs)}"
    kept, value = gallery.threshold(THRESHOLD, made_for)
    if not kept:
        value = unknown_distance(*_measure(encoder, index, clips, by_clip), prior)
        gallery.keep_threshold(THRESHOLD, made_for, value)
    return value


def _measure(
    encoder: Encoder, index: Index, clips: list[EnrolledClip], by_clip: dict[int, Floats]
) -> tuple[list[float], list[float]]:
    """Each clip's distance to its own class without it, and to the nearest other class, as a query."""
    own: list[float] = []
    others: list[float] = []
    for clip in clips:
        column = index.names.index(clip.class_name)
        fellows = [by_clip[c.id] for c in clips if c.class_name == clip.class_name and c.digest != clip.digest]
        prototypes = index.prototypes.copy()
        if fellows:
            prototypes[column] = np.mean(fellows, axis=0)
        distances = encoder.match(clip.query[None], prototypes, index.text, index.has_text).distances[0]
        if fellows:
            own.append(float(distances[column]))
        if len(index.names) > 1:
            others.append(float(np.delete(distances, column).min()))
    return own, others
