"""Few-shot episodes, sampled reproducibly (docs/method.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maclip_runtime.errors import MaclipError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Episode:
    """Classes and clips of one few-shot task. Clip ids count the clips of all classes in order.

    classes: int64 [way], indices of the classes.
    support: int64 [way * shot], clip ids, class by class.
    query: int64 [way * queries], clip ids, class by class.
    """

    classes: Ids
    support: Ids
    query: Ids

    def labels(self, ids: Ids) -> Ids:
        """Labels 0..way-1 in this episode of its `support` or `query` clips: int64, shaped like `ids`."""
        return np.repeat(np.arange(len(self.classes)), len(ids) // len(self.classes))


class EpisodeSampler:
    """Samples episodes by number: the same number and seed always give the same episode.

    sizes: number of clips of each class.
    way, shot, queries: classes of an episode; support and query clips of a class.
    seed: of all episodes.
    Raises `episode-invalid` and `too-few-clips`.
    """

    def __init__(self, sizes: Sequence[int], way: int, shot: int, queries: int, seed: int) -> None:
        need = shot + queries
        enough = np.array([i for i, size in enumerate(sizes) if size >= need], dtype=np.int64)
        if min(way, shot, queries) < 1:
            raise MaclipError(
                "episode-invalid", "way, shot and queries must be at least 1.", "Raise --way, --shot or --queries."
            )
        if len(enough) < way:
            raise MaclipError(
                "too-few-clips",
                f"{way}-way episodes with {shot} support and {queries} query clips a class need {way} classes of "
                f"{need} clips; {len(enough)} of {len(sizes)} classes have that many.",
                "Lower --way or --shot, or add clips.",
            )
        self.way, self.shot, self.queries, self.seed = way, shot, queries, seed
        self._classes = enough
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])

    def __getitem__(self, index: int) -> Episode:
        rng = np.random.default_rng([self.seed, index])
        classes = rng.choice(self._classes, self.way, replace=False)
        need = self.shot + self.queries
        picked = np.stack([rng.choice(self._sizes[c], need, replace=False) + self._starts[c] for c in classes])
        return Episode(classes, picked[:, : self.shot].reshape(-1), picked[:, self.shot :].reshape(-1))
