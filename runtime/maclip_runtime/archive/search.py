"""Finding windows near a prototype: a coarse pass over all means, then the bundle's own metric on the best of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime.archive.packing import mean_of
from maclip_runtime.archive.view import Rows, View
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.reading.frames import Floats

COARSE_ROWS = 4096  # means at once: they fit into a processor's cache
COARSE_THREADS = 2
EXACT_ROWS = 256  # windows in one run of the match graph
CHUNK = 512  # windows of the coarse ranking after which it is asked whether any is among the first `KEPT`
MIN_EXACT = 1024  # windows that are measured at least
KEPT = 100  # first windows of the ranking that have to be right
SAMPLED = 128  # evenly spaced windows, whose median distance is the typical one


@dataclass
class Ranking:
    """Windows by their distance to a prototype, the nearest first.

    Attributes:
        rows: int64 [n], those that were measured.
        distances: float32 [n].
        typical: the median distance of windows evenly spaced over all; NaN where there is none.
        seconds: of the stages "coarse" and "exact".
    """

    rows: Rows
    distances: Floats
    typical: float
    seconds: dict[str, float] = field(default_factory=dict)


class Searcher:
    """Ranks the windows of a view by their distance to one prototype, float32 [T, D']."""

    def __init__(self, view: View, encoder: Encoder, prototype: Floats) -> None:
        self._view, self._encoder, self._prototype = view, encoder, prototype
        self._known: dict[int, float] = {}  # distances by row

    def rank(self) -> Ranking:
        """Measure the windows that the coarse pass puts first, until `CHUNK` more bring none to the first `KEPT`."""
        begun = time.perf_counter()
        order = self._coarse()
        coarse_s = time.perf_counter() - begun
        for start in range(0, len(order), CHUNK):
            before = set(self._first())
            self.measure(order[start : start + CHUNK])
            if start + CHUNK >= MIN_EXACT and before == set(self._first()):
                break
        counted = np.flatnonzero(self._view.video >= 0)
        sample = counted[np.linspace(0, len(counted) - 1, min(SAMPLED, len(counted))).astype(np.int64)]
        apart = self.measure(sample)
        typical = float(np.median(apart[np.isfinite(apart)])) if np.isfinite(apart).any() else float("nan")
        return self.ranking(typical, {"coarse": coarse_s, "exact": time.perf_counter() - begun - coarse_s})

    def ranking(self, typical: float, seconds: dict[str, float]) -> Ranking:
        """What has been measured so far."""
        rows = np.fromiter(self._known, np.int64, len(self._known))
        distances = np.fromiter(self._known.values(), np.float32, len(self._known))
        order = np.lexsort((rows, distances))
        order = order[np.isfinite(distances[order])]
        return Ranking(rows[order], distances[order], typical, seconds)

    def measure(self, rows: Rows) -> Floats:
        """The distances, float32 [n], of some windows; inf for features that are not finite."""
        unknown = np.array([row for row in rows.tolist() if row not in self._known], np.int64)
        for start in range(0, len(unknown), EXACT_ROWS):
            some = unknown[start : start + EXACT_ROWS]
            self._known.update(zip(some.tolist(), self._distances(some).tolist(), strict=True))
        return np.array([self._known[row] for row in rows.tolist()], np.float32)

    def _first(self) -> list[int]:
        rows = np.fromiter(self._known, np.int64, len(self._known))
        if len(rows) <= KEPT:
            return rows.tolist()
        distances = np.fromiter(self._known.values(), np.float32, len(self._known))
        return rows[np.argpartition(distances, KEPT)[:KEPT]].tolist()

    def _distances(self, rows: Rows) -> Floats:
        features = self._view.features(rows)
        sound = np.asarray(np.isfinite(features).all(axis=(1, 2)))
        width = features.shape[-1]
        match = self._encoder.match(
            np.where(sound[:, None, None], features, 0), self._prototype[None],
            np.zeros((1, width), np.float32), np.zeros(1, np.bool_),
        )  # fmt: skip
        found = match.distances[:, 0]
        made: Floats = np.where(sound & np.isfinite(found), found, np.float32(np.inf))
        return made

    def _coarse(self) -> Rows:
        """The windows that count, the likeliest first."""
        target = mean_of(self._prototype[None])[0]
        scores = np.empty(len(self._view), np.float32)

        def score(part: tuple[int, np.ndarray, Floats]) -> None:
            at, means, scales = part
            scores[at : at + len(means)] = means.astype(np.float32) @ target * scales

        with ThreadPoolExecutor(COARSE_THREADS) as pool:
            for _ in pool.map(score, self._parts()):
                pass
        counted = np.flatnonzero(self._view.video >= 0)
        found = np.nan_to_num(scores[counted], nan=-np.inf)
        return counted[np.argsort(-found, kind="stable")]

    def _parts(self) -> Iterator[tuple[int, np.ndarray, Floats]]:
        return self._view.means(COARSE_ROWS)
