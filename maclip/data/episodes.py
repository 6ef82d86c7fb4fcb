"""Episodes: N ways, K shots and some queries, drawn reproducibly (docs/method.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maclip_runtime.errors import MaclipError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Episode:
    """Which classes and clips make up one few-shot task; ids count the clips of all classes in order.

    `classes` [way]; `support` [way * shot] and `query` [way * queries] are clip ids, class by class.
    """

    classes: Ids
    support: Ids
    query: Ids

    def labels(self, ids: Ids) -> Ids:
        """Positions 0..way-1 of `support` or `query` clips in this episode: int64, like `ids`."""
        return np.repeat(np.arange(len(self.classes)), len(ids) // len(self.classes))


class EpisodeSampler:
    """Draws episode number i from `sizes` clips a class: the same i and seed give the same episode, always."""

    def __init__(self, sizes: Sequence[int], way: int, shot: int, queries: int, seed: int) -> None:
        need = shot + queries
        enough = np.array([i for i, size in enumerate(sizes) if size >= need], dtype=np.int64)
        if min(way, shot, queries) < 1:
            raise MaclipError(
                "episode-invalid", "An episode needs a way, a shot and a query of at least 1.", "Raise it."
            )
        if len(enough) < way:
            raise MaclipError(
                "too-few-clips",
                f"{way}-way episodes with {shot} shot and {queries} query need {way} classes of {need} clips; "
                f"of {len(sizes)} classes {len(enough)} have that many.",
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
