"""A gallery's clips as arrays, and which of them show the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.gallery import NEGATIVE, EnrolledClip, Gallery
from maclip_runtime.matching.distances import sound
from maclip_runtime.matching.index import Index, class_prototypes
from maclip_runtime.matching.placement import SAME, change_of
from maclip_runtime.reading.frames import Floats, Indices

READ_AT_ONCE = 256  # clips, whose pictures are dropped again
ROWS_AT_ONCE = 256  # clips that are compared with all others


@dataclass(frozen=True)
class Sample:
    """One clip without its arrays; `class_name` is `NEGATIVE` for a negative."""

    id: int
    class_name: str
    source: str
    digest: str


@dataclass(frozen=True)
class Samples:
    """The N clips of an index's C classes, class by class, and the M negatives.

    Attributes:
        clips: the N clips.
        owner: int64 [N], each clip's column of the index.
        queries: float32 [N, T, D'].
        prototypes: float32 [N, T, D'].
        negatives: the M negatives.
        negative_queries: float32 [M, T, D'].
    """

    clips: tuple[Sample, ...]
    owner: Indices
    queries: Floats
    prototypes: Floats
    negatives: tuple[Sample, ...]
    negative_queries: Floats

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Places of two clips that show the same, the negatives counted on from N.

        Their sampled frames are equal, or their features differ by less than `placement.SAME` of what either changes
        from frame to frame: the same video, encoded or cut a little differently.
        """
        queries = np.concatenate([self.queries, self.negative_queries])
        steps = np.array([SAME * change_of(query) for query in queries])
        means = queries.mean(axis=1, dtype=np.float64)  # (N + M, D')
        squares = (means**2).sum(axis=1)
        found: set[tuple[int, int]] = set()
        for start in range(0, len(means), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            # The means lie no farther apart than the features do in the mean, so no pair is lost here.
            apart = np.sqrt(np.maximum(squares[rows, None] + squares - 2 * means[rows] @ means.T, 0))
            for row, other in np.argwhere(apart <= np.minimum(steps[rows, None], steps) + 1e-6):
                one = start + int(row)
                if one < other:
                    far = float(np.linalg.norm(queries[one] - queries[other], axis=-1).mean())
                    if far < min(steps[one], steps[other]):
                        found.add((one, int(other)))
        return sorted(found | self._equal)

    @cached_property
    def shown(self) -> Indices:
        """int64 [N], the place of the first clip of the same class that shows what each clip shows."""
        first = np.arange(len(self.clips))
        for one, other in self.pairs:
            if other < len(first) and self.owner[one] == self.owner[other]:
                first[first == first[other]] = first[one]
        return first

    @cached_property
    def _equal(self) -> set[tuple[int, int]]:
        first: dict[str, int] = {}
        found = set()
        for place, clip in enumerate((*self.clips, *self.negatives)):
            if clip.digest in first:
                found.add((first[clip.digest], place))
            first.setdefault(clip.digest, place)
        return found


def read_samples(gallery: Gallery, encoder: Encoder, index: Index) -> Samples:
    """Read the clips of an index. Those that were removed meanwhile or whose features overflow are left out."""
    columns = {member.id: column for column, name in enumerate(index.names) for member in index.groups[name]}
    made = class_prototypes(gallery, encoder, [member for name in index.names for member in index.groups[name]])
    clips: list[Sample] = []
    queries: list[Floats] = []
    wanted = [one for one in columns if one in made]  # class by class, as the index has them
    for start in range(0, len(wanted), READ_AT_ONCE):
        ids = wanted[start : start + READ_AT_ONCE]
        read = {clip.id: clip for clip in sound(gallery.clips(ids=ids))}
        for clip in (read[one] for one in ids if one in read):
            clips.append(_sample(clip, index.names[columns[clip.id]]))
            queries.append(clip.query)
    negatives = sound(gallery.negatives())
    return Samples(
        tuple(clips),
        np.array([columns[clip.id] for clip in clips], np.int64),
        _stacked(queries, index),
        _stacked([made[clip.id] for clip in clips], index),
        tuple(_sample(clip, NEGATIVE) for clip in negatives),
        _stacked([clip.query for clip in negatives], index),
    )


def _stacked(arrays: list[Floats], index: Index) -> Floats:
    return np.stack(arrays) if arrays else np.zeros((0, *index.prototypes.shape[1:]), np.float32)


def _sample(clip: EnrolledClip, name: str) -> Sample:
    return Sample(clip.id, name, clip.source, clip.digest)
