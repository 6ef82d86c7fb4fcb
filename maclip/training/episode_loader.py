"""The episodes of a training, drawn and augmented from (seed, stage, episode) alone, their clips read ahead.

Clips are read in threads, not in processes as torch's DataLoader would: decoding and resizing leave Python's lock, and
threads share the stem's cache and the model's settings without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maclip.data.clip_store import ClipStore, Progress, ahead
from maclip.data.episodes import Episode, EpisodeSampler
from maclip.runs import TrainConfig

STAGES = ("prototype", "joint")


@dataclass(frozen=True)
class Drawn:
    """Episode number `at`. `loaded`: its support, then its query clips, as `ClipStore.load` gives them.

    None where features were cached. `seed` begins all that is drawn while it is learnt, for instance dropout.
    """

    at: int
    episode: Episode
    seed: int
    loaded: Tensor | None


@dataclass(frozen=True)
class Views:
    """Features of V random views of every clip, `told` its class's name and as a `query`: [V, clips, T, D'] each."""

    told: Tensor
    query: Tensor

    def choose(self, drawn: Drawn, named: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Support features [S, T, D'], told where `named` [S], and query features [Q, T, D'] of an episode."""
        episode, count = drawn.episode, len(self.query)
        first, second = (torch.from_numpy(rng.integers(count, size=n)) for n in (len(named), len(episode.query)))
        own = torch.from_numpy(episode.support)
        support = torch.where(named.to(self.query.device)[:, None, None], self.told[first, own], self.query[first, own])
        return support, self.query[second, torch.from_numpy(episode.query)]


class Feed:
    """Draws the episodes of the stages from the clips of `store`; `workers` threads read them ahead."""

    def __init__(self, store: ClipStore, config: TrainConfig, workers: int) -> None:
        self.store, self.config, self.workers = store, config, workers
        self.sampler = EpisodeSampler(store.sizes, config.way, config.shot, config.queries, config.seed)

    def rng(self, stage: str, at: int) -> np.random.Generator:
        """Where the chances of episode `at` come from."""
        return np.random.default_rng([self.config.seed, STAGES.index(stage), at])

    def draw(self, stage: str, at: int, load: bool = True) -> Drawn:
        """Episode `at` of `stage`; without `load` its clips are not read."""
        episode = self.sampler[2 * at + STAGES.index(stage)]
        if not load:  # loading replaces broken clips by itself
            episode = self.store.broken.repaired(episode)
        ids = np.concatenate([episode.support, episode.query])
        loaded = self.store.load(ids, self.rng(stage, at)) if load else None
        return Drawn(at, episode, int(self.rng(stage, at).integers(1 << 62)), loaded)

    def stream(self, stage: str, episodes: Iterable[int], load: bool = True) -> Iterator[Drawn]:
        """`episodes` in order."""
        return ahead(lambda at: self.draw(stage, at, load), episodes, self.workers)

    def views(self, text: Tensor, progress: Progress) -> Views:
        """`config.views` random views of each clip with the model as it is; text [classes, D']."""
        rng = np.random.default_rng([self.config.seed, len(STAGES)])
        self.store.model.eval()
        pairs = []
        for done in range(self.config.views):
            pairs.append(self.store.both_branches(text, rng))
            progress(done + 1, self.config.views)
        told, query = zip(*pairs, strict=True)
        return Views(torch.stack(told), torch.stack(query))

    def name(self, episode: Episode) -> str:
        """Its classes and clips in words, for whoever has to find what is wrong with them."""
        names = ", ".join(repr(self.store.classes[i].name) for i in episode.classes)
        paths = (self.store.paths[i] for i in (*episode.support, *episode.query))
        return f"Classes: {names}. Clips: {', '.join(f'{path.parent.name}/{path.name}' for path in paths)}."
