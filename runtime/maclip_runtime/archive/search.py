"""Finding windows near a prototype: a coarse pass over all means, then the bundle's own metric on the best of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime.archive.packing import Packing, mean_of
from maclip_runtime.archive.view import Rows, Stored, View, features_of
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.fleet import HERE, Fleet, Here, in_order
from maclip_runtime.reading.frames import Floats

COARSE_ROWS = 4096  # means at once: they fit into a processor's cache
COARSE_THREADS = 2
COARSE_PIECES = 16  # of `COARSE_ROWS` means, in one share of a cluster
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


@dataclass(frozen=True)
class Coarse:
    """A job whose shares are stored windows, each share in pieces: the dot product of their means with `target`."""

    target: Floats

    def parts(self, share: Sequence[Stored], skip: int) -> Iterator[Floats]:
        """The scores of each piece, float32 [n]."""
        return (self.scores(piece) for piece in share[skip:])

    def scores(self, piece: Stored) -> Floats:
        """The scores of one piece, float32 [n]."""
        means, scales = piece.means()
        return means.astype(np.float32) @ self.target * scales


@dataclass(frozen=True)
class Exact:
    """A job whose shares are n stored windows: their distances to `prototype` in the bundle's own metric."""

    encoder: Encoder
    prototype: Floats
    packing: Packing

    def parts(self, share: tuple[list[tuple[Rows, Stored]], int], skip: int) -> Iterator[Floats]:
        """The distances, float32 [n], in one part; inf for features that are not finite."""
        places, count = share
        if skip:
            return
        features = features_of(places, count, self.packing)
        sound = np.asarray(np.isfinite(features).all(axis=(1, 2)))
        width = features.shape[-1]
        match = self.encoder.match(
            np.where(sound[:, None, None], features, 0), self.prototype[None],
            np.zeros((1, width), np.float32), np.zeros(1, np.bool_),
        )  # fmt: skip
        found = match.distances[:, 0]
        yield np.where(sound & np.isfinite(found), found, np.float32(np.inf))


class Searcher:
    """Ranks the windows of a view by their distance to one prototype, float32 [T, D']."""

    def __init__(self, view: View, encoder: Encoder, prototype: Floats, fleet: Fleet = HERE) -> None:
        self._view, self._prototype, self._fleet = view, prototype, fleet
        self._exact = Exact(encoder, prototype, Packing(view.settings.frames, view.settings.width))
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
        some = [unknown[start : start + EXACT_ROWS] for start in range(0, len(unknown), EXACT_ROWS)]
        shares = [(self._view.places_of(one), len(one)) for one in some]
        fleet = self._fleet if len(shares) > 1 else HERE
        for one, distances in zip(some, in_order(fleet, self._exact, shares), strict=True):
            self._known.update(zip(one.tolist(), distances.tolist(), strict=True))
        return np.array([self._known[row] for row in rows.tolist()], np.float32)

    def _first(self) -> list[int]:
        rows = np.fromiter(self._known, np.int64, len(self._known))
        if len(rows) <= KEPT:
            return rows.tolist()
        distances = np.fromiter(self._known.values(), np.float32, len(self._known))
        return rows[np.argpartition(distances, KEPT)[:KEPT]].tolist()

    def _coarse(self) -> Rows:
        """The windows that count, the likeliest first."""
        job = Coarse(mean_of(self._prototype[None])[0])
        scores = np.empty(len(self._view), np.float32)
        pieces = list(self._view.stored(COARSE_ROWS))
        if isinstance(self._fleet, Here):
            with ThreadPoolExecutor(COARSE_THREADS) as pool:
                found = list(pool.map(job.scores, (piece for _, piece in pieces)))
        else:
            shares = [
                [piece for _, piece in pieces[at : at + COARSE_PIECES]] for at in range(0, len(pieces), COARSE_PIECES)
            ]
            found = list(in_order(self._fleet, job, shares))
        for (rows, _), part in zip(pieces, found, strict=True):
            scores[rows] = part
        counted = np.flatnonzero(self._view.video >= 0)
        likely = np.nan_to_num(scores[counted], nan=-np.inf)
        return counted[np.argsort(-likely, kind="stable")]
