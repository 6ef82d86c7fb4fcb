"""Clips that cannot be read: recorded, replaced by other clips of their class, and an error above a given share.

The replacement depends only on the episode and on which clips are broken, not on when that was noticed. A resumed
training therefore sees the same clips as an uninterrupted one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from maclip.data.dataset import ActionClass
from maclip.data.episodes import Episode, Ids
from maclip_runtime.errors import MaclipError

MAX_CLIPS_NAMED = 3  # in an error


class BrokenClips:
    """The clips of `classes` that could not be read, by id.

    classes: classes whose clips are counted, in order.
    share: largest share of broken clips (0..1) before `data-broken` is raised. Default 0: the first broken clip raises
        its own error.
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
        """Record that `clip` is broken. Raises `error` itself if the share is 0, `data-broken` if too many are."""
        if not self.share:
            raise error
        with self._lock:
            self.errors[clip] = error
            if len(self) > self.share * len(self._paths) or len(self) == len(self._paths):
                raise self._too_many()

    def merge(self, found: Iterable[Mapping[int, MaclipError]]) -> None:
        """Record the broken clips that other processes found. Raises `data-broken`, as `add` does."""
        for errors in found:
            for clip, error in errors.items():
                if clip not in self:
                    self.add(clip, error)

    def with_fallbacks(self, ids: Ids, place: int) -> Iterator[int]:
        """The clip `ids[place]`, then the other clips of its class in a random order that depends only on `ids`.

        Skips clips in `ids` and clips known to be broken. Raises `too-few-clips` after the last.
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

    def replace_broken(self, ids: Ids) -> Ids:
        """The clip ids of an episode with known broken clips replaced. Raises `too-few-clips`."""
        chosen = ids.copy()
        for place in range(len(ids)):
            if int(ids[place]) in self:
                chosen[place] = next(i for i in self.with_fallbacks(ids, place) if i not in chosen)
        return chosen

    def repair(self, episode: Episode) -> Episode:
        """`episode` with known broken clips replaced. Raises `too-few-clips`."""
        if not self.errors:
            return episode
        ids = self.replace_broken(np.concatenate([episode.support, episode.query]))
        return Episode(episode.classes, ids[: len(episode.support)], ids[len(episode.support) :])

    def readable_classes(self) -> tuple[ActionClass, ...]:
        """The classes without their broken clips."""
        bad = {self._paths[i] for i in self.errors}
        return tuple(replace(c, clips=tuple(path for path in c.clips if path not in bad)) for c in self.classes)

    @property
    def paths(self) -> list[str]:
        """Paths of the broken clips."""
        return [str(self._paths[i]) for i in sorted(self.errors)]

    def report(self) -> list[str]:
        """One line for each broken clip, in order: error code and message."""
        return [f"{self.errors[i].code}: {self.errors[i].message}" for i in sorted(self.errors)]

    def _too_many(self) -> MaclipError:
        named = "; ".join(self.errors[i].message for i in sorted(self.errors)[:MAX_CLIPS_NAMED])
        over = f", more than {100 * self.share:g} %" if len(self) < len(self._paths) else ""
        return MaclipError(
            "data-broken",
            f"{len(self)} of {len(self._paths)} clips cannot be read{over}. The first: {named}",
            "List them with maclip data check, repair or remove them, or raise --max-broken.",
        )

    def _too_few(self, label: int) -> MaclipError:
        c = self.classes[label]
        broken = sum(self._labels[i] == label for i in self.errors)
        return MaclipError(
            "too-few-clips",
            f"{broken} of the {len(c.clips)} clips of {c.name!r} cannot be read; too few are left for an episode.",
            "Repair them (maclip data check lists them), add clips to the class, or remove the class.",
        )
