"""Batches of a training: episodes sampled and augmented from (seed, stage, number) alone, prefetched in threads.

Threads, not processes as in torch's DataLoader: decoding and resizing release the GIL, and threads share the stem cache
without copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from maclip.config import TrainConfig
from maclip.data.clip_store import ClipStore, Progress
from maclip.data.episodes import Episode, EpisodeSampler, Ids
from maclip.data.prefetch import prefetch
from maclip.data.shared_memory import Room, require_memory
from maclip.data.stream_windows import NONE, Windows
from maclip.evaluation.features import clip_features
from maclip.model.maclip import MaClip

STAGES = ("prototype", "joint")
WINDOWS_PER_BATCH = 8


@dataclass(frozen=True)
class ViewFeatures:
    """Cached features: of S support clips with and without the text of their class, and of Q query clips."""

    with_text: Tensor  # (S, T, D')
    without_text: Tensor  # (S, T, D')
    query: Tensor  # (Q + W, T, D'), query clips, then windows of streams


@dataclass(frozen=True)
class Batch:
    """One episode with its inputs.

    at: number of the episode.
    episode: its classes and clips.
    seed: for random numbers in its training step, such as dropout.
    text: text features of its classes, float32 [way, D'].
    clips: support clips, query clips, then windows of streams, as `ClipStore.load` returns them; None with cached
        `features`.
    features: cached features of its clips; None if they are to be computed.
    window_labels: labels of the windows of streams, indices into `text` or -1 for no class: int64 [W].
    """

    at: int
    episode: Episode
    seed: int
    text: Tensor
    clips: Tensor | None = None
    features: ViewFeatures | None = None
    window_labels: Ids = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def support_labels(self) -> Tensor:
        """Labels of the support clips, indices into `text`: int64 [S]."""
        return torch.from_numpy(self.episode.labels(self.episode.support)).to(self.text.device)

    @property
    def query_labels(self) -> Tensor:
        """Labels of the query clips and of the windows, indices into `text` or -1: int64 [Q + W]."""
        labels = np.concatenate([self.episode.labels(self.episode.query), self.window_labels])
        return torch.from_numpy(labels).to(self.text.device)


@dataclass(frozen=True)
class Views:
    """Features of V random views of every clip, with and without the text of its class: [V, clips, T, D'] each.

    windows: features of all windows of streams, [windows, T, D'].
    """

    with_text: Tensor
    without_text: Tensor
    windows: Tensor | None = None

    def choose(self, episode: Episode, rng: np.random.Generator, windows: Ids) -> ViewFeatures:
        """Features of one random view of each clip of `episode`, and of the `windows`."""
        count = len(self.without_text)
        first, second = (
            torch.from_numpy(rng.integers(count, size=len(ids))) for ids in (episode.support, episode.query)
        )
        support, query = torch.from_numpy(episode.support), torch.from_numpy(episode.query)
        asked = self.without_text[second, query]
        if self.windows is not None:
            asked = torch.cat([asked, self.windows[torch.from_numpy(windows)]])
        return ViewFeatures(self.with_text[first, support], self.without_text[first, support], asked)


class EpisodeLoader:
    """Samples the episodes of both stages and loads their batches.

    store: the training clips.
    config: of the training.
    text: text features of the classes of `store`, float32 [classes, D'].
    workers: threads that prefetch clips.

    `windows` is the pool of windows of streams; None: queries are clips only.
    """

    windows: Windows | None = None

    def __init__(self, store: ClipStore, config: TrainConfig, text: Tensor, *, workers: int) -> None:
        self.store, self.config, self.text, self.workers = store, config, text, workers
        task = config.episode
        self.samplers = [
            EpisodeSampler(store.sizes, task.way, shot, task.queries, config.seed)
            for shot in range(task.shot, max(task.shot, task.max_shot) + 1)
        ]

    def batches(self, stage: str, episodes: Iterable[int], views: Views | None = None) -> Iterator[Batch]:
        """Batches of `episodes` of `stage`, in order; with cached `views` no clip is read."""
        return prefetch(lambda at: self.batch(stage, at, views), episodes, self.workers)

    def batch(self, stage: str, at: int, views: Views | None = None) -> Batch:
        """The batch of episode `at` of `stage`; with cached `views` it holds features instead of clips."""
        episode = self.episode(stage, at, repair=views is not None)
        text = self.text[torch.from_numpy(episode.classes)]
        seed = int(self._rng(stage, at).integers(1 << 62))
        windows, labels = self._windows(stage, at, episode)
        if views is not None:
            features = views.choose(episode, self._rng(stage, at), windows)
            return Batch(at, episode, seed, text, features=features, window_labels=labels)
        ids = np.concatenate([episode.support, episode.query])
        clips = self.store.load(ids, self._rng(stage, at))
        if self.windows is not None and len(windows):
            clips = torch.cat([clips, self.windows.load(windows)])
        return Batch(at, episode, seed, text, clips=clips, window_labels=labels)

    def _windows(self, stage: str, at: int, episode: Episode) -> tuple[Ids, Ids]:
        """Windows of streams for an episode, and their labels in it: int64 [W] each; -1: of no class."""
        if self.windows is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        config, rng = self.config.streams, np.random.default_rng([self.config.seed, STAGES.index(stage), at, 1])
        asked = np.flatnonzero(rng.random(len(episode.classes)) < config.window_share)
        pairs = [(label, self.windows.of(int(episode.classes[label]))) for label in asked.tolist()]
        pairs += [(NONE, self.windows.of(NONE))] * config.none_windows
        chosen = [(label, rng.choice(ids)) for label, ids in pairs if len(ids)]
        found = np.array(chosen, dtype=np.int64).reshape(-1, 2)
        return found[:, 1], found[:, 0]

    def episode(self, stage: str, at: int, *, repair: bool = True) -> Episode:
        """Classes and clips of episode `at` of `stage`; `repair` replaces clips known to be broken."""
        number = 2 * at + STAGES.index(stage)
        which = np.random.default_rng([self.config.seed, number, 2]).integers(len(self.samplers))
        episode = self.samplers[int(which)][number]
        return self.store.broken.repair(episode) if repair else episode  # `ClipStore.load` replaces broken clips too

    def views(self, model: MaClip, progress: Progress, room: Room | None = None) -> Views:
        """Features of `config.caching.views` random views of each clip with the current `model`.

        room: shares the memory with other processes, each of which computes some of the views; they are whole when all
            are done.
        Raises `memory-short`.
        """
        rng = np.random.default_rng([self.config.seed, len(STAGES)])
        model.eval()
        count = self.config.caching.views
        shape = (count, len(self.store), model.config.frames, model.feature_width)
        if room is None or not room.in_memory:
            room = None
            if self.text.device.type == "cpu":
                require_memory(2 * math.prod(shape) * torch.float32.itemsize)
            found = Views(*(torch.zeros(shape, device=self.text.device) for _ in range(2)))
        else:
            found = Views(*(room.tensor(name, shape, torch.float32) for name in ("with", "without")))
        for view in range(count):
            own = rng.spawn(1)[0]
            if room is None or room.owns(view):
                with_text, without_text = clip_features(model, self.store, self.text, rng=own)
                found.with_text[view], found.without_text[view] = with_text, without_text
            progress(view + 1, count)
        if self.windows is None:
            return found
        return replace(found, windows=self._window_features(model, self.windows))

    @torch.no_grad()
    def _window_features(self, model: MaClip, windows: Windows) -> Tensor:
        """Features of all windows of streams, as queries: [windows, T, D']."""
        parts = np.array_split(np.arange(len(windows)), math.ceil(len(windows) / WINDOWS_PER_BATCH))
        return torch.cat([model.encode(windows.load(ids)) for ids in parts])

    def describe(self, episode: Episode) -> str:
        """Names of the classes and clips of `episode`, for errors."""
        names = ", ".join(repr(self.store.classes[i].name) for i in episode.classes)
        paths = (self.store.paths[i] for i in (*episode.support, *episode.query))
        return f"Classes: {names}. Clips: {', '.join(f'{path.parent.name}/{path.name}' for path in paths)}."

    def _rng(self, stage: str, at: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, STAGES.index(stage), at])
