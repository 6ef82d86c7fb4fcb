"""Distances within a gallery, by leave-one-out: how far clips lie from their own class, and from the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from maclip_runtime.engines.encoder import Encoder, Flags, Match
from maclip_runtime.gallery import EnrolledClip
from maclip_runtime.gallery.rows import Member
from maclip_runtime.gallery.storing import usable
from maclip_runtime.reading.frames import Floats

BATCH = 8  # queries at once: memory grows with queries times classes
MAX_SAMPLE = 100  # clips that a figure of the whole gallery is measured on


def match_all(encoder: Encoder, queries: Floats, prototypes: Floats, text: Floats, has_text: Flags) -> Match:
    """`Encoder.match` of any number of queries [N, T, D'], `BATCH` at a time: distances and probabilities [N, C]."""
    parts = [
        encoder.match(queries[start : start + BATCH], prototypes, text, has_text)
        for start in range(0, len(queries), BATCH)
    ]
    if not parts:
        none = np.zeros((0, len(prototypes)), np.float32)
        return Match(none, none)
    return Match(
        np.concatenate([part.distances for part in parts]), np.concatenate([part.probabilities for part in parts])
    )


def distances_to(encoder: Encoder, queries: Floats, prototype: Floats) -> Floats:
    """Distances [N] of queries [N, T, D'] to one prototype [T, D']. A class's text has no part in a distance."""
    width = prototype.shape[-1]
    no_text = np.zeros((1, width), np.float32), np.zeros(1, np.bool_)
    found: Floats = match_all(encoder, queries, prototype[None], *no_text).distances[:, 0]
    return found


def left_out(
    encoder: Encoder, clip: EnrolledClip, group: Sequence[Member], by_clip: Mapping[int, Floats]
) -> float | None:
    """The distance of `clip`, as a query, to its class `group` without it; None if the class has no other clip.

    Clips of the same frames are left out too. `by_clip` holds the prototypes by clip id.
    """
    fellows = [by_clip[member.id] for member in group if member.digest != clip.digest]
    if not fellows:
        return None
    return float(distances_to(encoder, clip.query[None], np.mean(fellows, axis=0))[0])


def sound(clips: Iterable[EnrolledClip]) -> list[EnrolledClip]:
    """The clips whose queries do not overflow: no limit can be measured with the others."""
    return [clip for clip in clips if usable(clip.query)]


def spread(count: int, wanted: int = MAX_SAMPLE) -> list[int]:
    """Up to `wanted` evenly spaced indices into `count` items; deterministic."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, wanted))}) if count else []
