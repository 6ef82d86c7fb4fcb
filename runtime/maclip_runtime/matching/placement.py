"""Finds clips that are enrolled in the wrong place: duplicates, clips far from their class, clips nearer to another.

A clip is compared with the gallery's own distances, so no constant depends on their scale. It is judged only if there
are enough other clips, and if it lies farther from its class than any other clip of it. On generated clips of unseen
classes, four or five enrolled, 1 to 5 % of the right clips are held back and 56 to 63 % of those that show another
action (`python -m benchmarks.enrolment`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.gallery import NEGATIVE, EnrolledClip, Gallery
from maclip_runtime.matching.distances import distances_to, left_out, match_all, sound, spread
from maclip_runtime.matching.index import Index, class_prototypes
from maclip_runtime.reading.frames import Floats
from maclip_runtime.reading.quality import Reason

MIN_FELLOWS = 3  # clips of the class besides the one that is judged: with fewer, one bad clip condemns the good ones
MAX_FELLOWS = 30  # clips of the class whose own distances are measured
MIN_STRANGERS = 4  # clips of other classes
SAME = 0.3  # of a clip's change from frame to frame: two clips that differ by less are the same clip, encoded twice


def misplaced(
    gallery: Gallery, encoder: Encoder, index: Index | None, clips: Sequence[EnrolledClip], prototypes: Floats
) -> list[list[Reason]]:
    """The reasons against enrolling each of N clips of one class, with their prototypes [N, T, D'].

    Codes: `duplicate`, `far-from-class`, `near-other-class`. `index` is the gallery's, None while it is empty.
    """
    name = clips[0].class_name
    members = index.groups.get(name, ()) if index else ()
    if name == NEGATIVE:
        fellows = gallery.negatives()
    else:
        fellows = gallery.clips(ids=[member.id for member in members]) if members else []
    reasons: list[list[Reason]] = []
    for place, clip in enumerate(clips):
        same = _duplicate(gallery, clip, [*fellows, *clips[:place]])
        reasons.append([same] if same else [])
    if name == NEGATIVE or index is None or len(fellows) + len(clips) <= MIN_FELLOWS:
        return reasons
    kept = class_prototypes(gallery, encoder, members) if members else {}
    pool = [(clip, kept[clip.id]) for clip in fellows if clip.id in kept]
    pool += zip(clips, prototypes, strict=True)
    judge = _Judge(gallery, encoder, index, name)
    for clip, found in zip(clips, reasons, strict=True):
        beside = [(other, prototype) for other, prototype in pool if other.digest != clip.digest]
        if not found and len(beside) >= MIN_FELLOWS:
            found += judge.reasons(clip, beside)
    return reasons


class _Judge:
    """Compares a clip's distance to its class with the distances of other classes' clips."""

    def __init__(self, gallery: Gallery, encoder: Encoder, index: Index, name: str) -> None:
        self._gallery, self._encoder, self._index, self._name = gallery, encoder, index, name
        others = sorted(one.id for other, group in index.groups.items() if other != name for one in group)
        chosen = sound(gallery.clips(ids=[others[place] for place in spread(len(others))]))
        self._strangers = np.stack([clip.query for clip in chosen]) if len(chosen) >= MIN_STRANGERS else None

    def reasons(self, clip: EnrolledClip, beside: Sequence[tuple[EnrolledClip, Floats]]) -> list[Reason]:
        """The reasons against a clip; `beside`: the class's other clips and their prototypes.

        None if one of those lies as far from the rest.
        """
        prototype = np.mean([made for _, made in beside], axis=0)
        own = float(distances_to(self._encoder, clip.query[None], prototype)[0])
        if own <= self._farthest(beside):
            return []
        found = []
        if self._strangers is not None:
            limit = float(np.median(distances_to(self._encoder, self._strangers, prototype)))
            if own > limit:
                words = f"distance {own:.3f}; of other classes' clips half are within {limit:.3f}"
                found.append(Reason("far-from-class", words))
        nearer = self._nearer(clip, own)
        return [*found, nearer] if nearer else found

    def _farthest(self, beside: Sequence[tuple[EnrolledClip, Floats]]) -> float:
        """How far the farthest of the class's clips lies from the rest."""
        apart = []
        for place in spread(len(beside), MAX_FELLOWS):
            rest = [made for number, (_, made) in enumerate(beside) if number != place]
            query = beside[place][0].query[None]
            apart.append(float(distances_to(self._encoder, query, np.mean(rest, axis=0))[0]))
        return max(apart)

    def _nearer(self, clip: EnrolledClip, own: float) -> Reason | None:
        """A reason if the clip is nearer to another class, and as near to it as half of that class's own clips."""
        index = self._index
        match = match_all(self._encoder, clip.query[None], index.prototypes, index.text, index.has_text)
        distances = match.distances[0]
        order = [place for place in np.argsort(distances) if index.names[place] != self._name]
        if not order or distances[order[0]] >= own:
            return None
        other, distance = index.names[order[0]], float(distances[order[0]])
        group = index.groups[other]
        if len(group) < MIN_FELLOWS:
            return None
        prototypes = class_prototypes(self._gallery, self._encoder, group)
        group = [member for member in group if member.id in prototypes]  # those that are still there
        apart = [
            left_out(self._encoder, one, group, prototypes)
            for one in self._gallery.clips(ids=[one.id for one in group])
        ]
        typical = [one for one in apart if one is not None]
        if not typical or distance > float(np.median(typical)):
            return None
        words = f"distance {distance:.3f} to {other!r}, {own:.3f} to {self._name!r}"
        return Reason("near-other-class", words)


def change_of(query: Floats) -> float:
    """How much a clip's features [T, D'] change from frame to frame, in the mean: what `SAME` is a share of."""
    return float(np.linalg.norm(np.diff(query, axis=0), axis=-1).mean()) if len(query) > 1 else 0.0


def _duplicate(gallery: Gallery, clip: EnrolledClip, fellows: Sequence[EnrolledClip]) -> Reason | None:
    """A reason if the same frames are in the gallery, or nearly the same features among `fellows`."""
    before = gallery.shown_before(clip.digest)
    if before:
        where = "a negative" if before[0] == NEGATIVE else f"a clip of {before[0]!r}"
        return Reason("duplicate", f"the same frames as {before[1]}, {where}")
    step = change_of(clip.query)
    for fellow in fellows:
        if fellow.digest == clip.digest:
            return Reason("duplicate", f"the same frames as {fellow.source}")
        apart = float(np.linalg.norm(clip.query - fellow.query, axis=-1).mean())
        if step and apart < SAME * step:
            words = f"{apart / step:.2f} of its own change apart from {fellow.source}, at least {SAME:g}"
            return Reason("duplicate", words)
    return None
