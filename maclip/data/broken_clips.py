"""Clips that cannot be read: remembered, stood in for by others of their class, and fatal beyond a share.

Who stands in depends on the episode and on which clips are broken alone, never on when that was found out: a training
that is resumed meets the same clips as one that was not interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from maclip.data.dataset import ActionClass
from maclip.data.episodes import Episode, Ids
from maclip_runtime.errors import MaclipError

NAMED = 3  # broken clips named in an error


class BrokenClips:
    """Which clips of `classes` were found broken, by id; more than `share` of all of them end the work.

    With `share` 0 the first one does, by its own error.
    """

    def __init__(self, classes: Sequence[ActionClass], share: float = 0.0) -> None:
        self.classes = classes
        self.share = share
        self.errors: dict[int, MaclipError] = {}
        self._paths = [path for c in classes for path in c.clips]
        self._labels: Ids = np.repeat(np.arange(len(classes)), [len(c.clips) for c in classes])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.errors)

    def __contains__(self, clip: int) -> bool:
        return clip in self.errors

    def add(self, clip: int, error: MaclipError) -> None:
        """Remember that `clip` is broken. Raises `error` itself, or `data-broken` where too many are, or all."""
        if not self.share:
            raise error
        with self._lock:
            self.errors[clip] = error
            if len(self) > self.share * len(self._paths) or len(self) == len(self._paths):
                raise self._too_many()

    def merge(self, found: Iterable[Mapping[int, MaclipError]]) -> None:
        """Remember what other processes found too. Raises `data-broken`, as `add` does."""
        for errors in found:
            for clip, error in errors.items():
                if clip not in self:
                    self.add(clip, error)

    def candidates(self, ids: Ids, place: int) -> Iterator[int]:
        """The clip `ids[place]`, then the others of its class in a random order that `ids` alone decide.

        Those that `ids` hold, and those known to be broken, are left out. Raises `too-few-clips` after the last.
        """
        own = int(ids[place])
        if own not in self:
            yield own
        label = self._labels[own]
        others = np.flatnonzero(self._labels == label)
        for clip in np.random.default_rng([*ids.tolist(), place]).permutation(others).tolist():
            if clip not in ids and clip not in self:
                yield clip
        raise self._too_few(int(label))

    def stand_in(self, ids: Ids) -> Ids:
        """`ids` of an episode without those known to be broken. Raises `too-few-clips`."""
        chosen = ids.copy()
        for place in range(len(ids)):
            if int(ids[place]) in self:
                chosen[place] = next(i for i in self.candidates(ids, place) if i not in chosen)
        return chosen

    def repaired(self, episode: Episode) -> Episode:
        """`episode` without the clips known to be broken. Raises `too-few-clips`."""
        if not self.errors:
            return episode
        ids = self.stand_in(np.concatenate([episode.support, episode.query]))
        return Episode(episode.classes, ids[: len(episode.support)], ids[len(episode.support) :])

    def left(self) -> tuple[ActionClass, ...]:
        """The classes with the clips that were not found broken."""
        bad = {self._paths[i] for i in self.errors}
        return tuple(replace(c, clips=tuple(path for path in c.clips if path not in bad)) for c in self.classes)

    @property
    def paths(self) -> list[str]:
        """Where they lie."""
        return [str(self._paths[i]) for i in sorted(self.errors)]

    def report(self) -> list[str]:
        """A line for each broken clip, in order: which and why."""
        return [f"{self.errors[i].code}: {self.errors[i].message}" for i in sorted(self.errors)]

    def _too_many(self) -> MaclipError:
        named = "; ".join(self.errors[i].message for i in sorted(self.errors)[:NAMED])
        over = f", more than {100 * self.share:g} %" if len(self) < len(self._paths) else ""
        return MaclipError(
            "data-broken",
            f"{len(self)} of {len(self._paths)} clips cannot be used{over}. The first: {named}",
            "See them all with maclip data check, mend or remove them, or raise --max-broken.",
        )

    def _too_few(self, label: int) -> MaclipError:
        c = self.classes[label]
        broken = sum(self._labels[i] == label for i in self.errors)
        return MaclipError(
            "too-few-clips",
            f"{broken} of the {len(c.clips)} clips of {c.name!r} cannot be used, and too few are left for an episode.",
            "Mend them (maclip data check names them), add clips to that class, or take it out.",
        )
