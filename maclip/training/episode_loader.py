"""The episodes of a training as batches: drawn and augmented from (seed, stage, episode) alone, read ahead in threads.

Threads and not processes, as torch's DataLoader would use: decoding and resizing release Python's lock, and threads
share the stem's cache without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maclip.config import TrainConfig
from maclip.data.clip_store import ClipStore, Progress
from maclip.data.episodes import Episode, EpisodeSampler
from maclip.data.prefetch import prefetch
from maclip.evaluation.features import clip_features
from maclip.model.maclip import MaClip

STAGES = ("prototype", "joint")


@dataclass(frozen=True)
class ViewFeatures:
    """Features that were computed before: of S support clips with their class's text and without, of Q query clips."""

    with_text: Tensor  # (S, T, D')
    without_text: Tensor  # (S, T, D')
    query: Tensor  # (Q, T, D')


@dataclass(frozen=True)
class Batch:
    """One episode, ready for the model.

    at: its number.
    episode: its classes and clips.
    seed: for all that is drawn while it is learnt, dropout for instance.
    text: text features of its classes, float32 [way, D'].
    clips: its support, then its query clips, as `ClipStore.load` gives them; None where `features` are there.
    features: features of its clips, None where they are to be computed.
    """

    at: int
    episode: Episode
    seed: int
    text: Tensor
    clips: Tensor | None = None
    features: ViewFeatures | None = None

    @property
    def support_labels(self) -> Tensor:
        """Positions of the support clips' classes in `text`: int64 [S]."""
        return torch.from_numpy(self.episode.labels(self.episode.support)).to(self.text.device)

    @property
    def query_labels(self) -> Tensor:
        """Positions of the query clips' classes in `text`: int64 [Q]."""
        return torch.from_numpy(self.episode.labels(self.episode.query)).to(self.text.device)


@dataclass(frozen=True)
class Views:
    """Features of V random views of every clip, with its class's text and without: [V, clips, T, D'] each."""

    with_text: Tensor
    without_text: Tensor

    def choose(self, episode: Episode, rng: np.random.Generator) -> ViewFeatures:
        """One view of each clip of `episode`."""
        count = len(self.without_text)
        first, second = (
            torch.from_numpy(rng.integers(count, size=len(ids))) for ids in (episode.support, episode.query)
        )
        support, query = torch.from_numpy(episode.support), torch.from_numpy(episode.query)
        return ViewFeatures(
            self.with_text[first, support], self.without_text[first, support], self.without_text[second, query]
        )


class EpisodeLoader:
    """Draws the episodes of both stages from the clips of `store`.

    store: the training clips.
    config: of the training.
    text: text features of the classes of `store`, float32 [classes, D'].
    workers: threads that read clips ahead.
    """

    def __init__(self, store: ClipStore, config: TrainConfig, text: Tensor, *, workers: int) -> None:
        self.store, self.config, self.text, self.workers = store, config, text, workers
        task = config.episode
        self.sampler = EpisodeSampler(store.sizes, task.way, task.shot, task.queries, config.seed)

    def batches(self, stage: str, episodes: Iterable[int], views: Views | None = None) -> Iterator[Batch]:
        """`episodes` of `stage` in order; with `views` no clip is read."""
        return prefetch(lambda at: self.batch(stage, at, views), episodes, self.workers)

    def batch(self, stage: str, at: int, views: Views | None = None) -> Batch:
        """Episode `at` of `stage`: its clips, or with `views` features of them."""
        episode = self.episode(stage, at, repair=views is not None)
        text = self.text[torch.from_numpy(episode.classes)]
        seed = int(self._rng(stage, at).integers(1 << 62))
        if views is not None:
            return Batch(at, episode, seed, text, features=views.choose(episode, self._rng(stage, at)))
        ids = np.concatenate([episode.support, episode.query])
        return Batch(at, episode, seed, text, clips=self.store.load(ids, self._rng(stage, at)))

    def episode(self, stage: str, at: int, *, repair: bool = True) -> Episode:
        """Which classes and clips episode `at` of `stage` is of; with `repair` without clips known to be broken."""
        episode = self.sampler[2 * at + STAGES.index(stage)]
        return self.store.broken.repair(episode) if repair else episode  # loading replaces broken clips by itself

    def views(self, model: MaClip, progress: Progress) -> Views:
        """`config.caching.views` random views of each clip with `model` as it is."""
        rng = np.random.default_rng([self.config.seed, len(STAGES)])
        model.eval()
        pairs = []
        count = self.config.caching.views
        for done in range(count):
            pairs.append(clip_features(model, self.store, self.text, rng=rng))
            progress(done + 1, count)
        with_text, without_text = zip(*pairs, strict=True)
        return Views(torch.stack(with_text), torch.stack(without_text))

    def describe(self, episode: Episode) -> str:
        """Its classes and clips in words, for an error."""
        names = ", ".join(repr(self.store.classes[i].name) for i in episode.classes)
        paths = (self.store.paths[i] for i in (*episode.support, *episode.query))
        return f"Classes: {names}. Clips: {', '.join(f'{path.parent.name}/{path.name}' for path in paths)}."

    def _rng(self, stage: str, at: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, STAGES.index(stage), at])
