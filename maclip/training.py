"""Episodic training: TPCM first on cached features, then everything that is tuned (method.md sections 5 and 6)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from maclip.checkpoint import Begun, Checkpoint
from maclip.data import DataSet
from maclip.episodes import Episode, EpisodeSampler
from maclip.evaluation import Evaluator, choose_fusion_weight, choose_unknown
from maclip.interrupts import deferred
from maclip.matching import episode_loss, mean_by_class, text_logits
from maclip.model import MaClip
from maclip.run import ADAPTERS_FILE, METRICS_FILE, Chosen, RunConfig, TrainConfig, write_adapters, write_config
from maclip.store import ClipStore, ahead
from maclip_runtime.errors import MaclipError

CACHE_LIMIT_BYTES = 3 << 30  # "auto" caches stem tokens up to this size
PREPARED_AHEAD = 2
GRADIENT_NORM_LIMIT = 1.0
VALIDATION_SEED = 20_000
VALIDATION_WAY = 5
# Chosen once at the end, from more episodes than each validation on the way.
CHOOSING_EPISODES = 1000


@dataclass(frozen=True)
class Step:
    """One optimiser update: mean `loss` and `accuracy` (0..1, of p) over its episodes. `stage`: prototype or joint."""

    stage: str
    episode: int
    episodes: int
    loss: float
    accuracy: float
    learning_rate: float


class Watcher(Protocol):
    """What wants to see training go: a progress bar, a test."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A part of the work with a known size begins: call the result with (done, total)."""

    def step(self, step: Step) -> None:
        """An update was made."""

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Validation classes were tried."""


class Trainer:
    """Trains `model` on `data` into the folder `run`; `resume` continues from `run`/state.

    `lenders` are stores of another training on the same clips: their stem tokens are used where they fit.
    """

    def __init__(
        self,
        model: MaClip,
        data: DataSet,
        config: RunConfig,
        run: Path,
        watcher: Watcher,
        lenders: tuple[ClipStore, ...] = (),
    ) -> None:
        self.lenders = lenders
        self.model, self.config, self.run, self.watcher = model, config, run, watcher
        self.train_config: TrainConfig = config.train
        self.store = ClipStore(model, data.split("train"))
        if not len(self.store):
            raise MaclipError("data-empty", f"{data.root} has no training class.", "Give classes the split 'train'.")
        self.sampler = self._sampler(config.train.seed)
        # Data without splits is all for training: nothing is left to choose on.
        held_out = data.split("val") if data.has_splits() else ()
        self.validation = (
            ClipStore(model, held_out) if self._fit_for_validation([len(c.clips) for c in held_out]) else None
        )
        self.best_accuracy = -1.0

    @property
    def stores(self) -> tuple[ClipStore, ...]:
        """Training's clips and, where there are such classes, validation's."""
        return (self.store,) if self.validation is None else (self.store, self.validation)

    def fit(self, resume: bool = False) -> None:
        """Train to the end. On any interruption the last state is on disk and `fit(resume=True)` goes on."""
        write_config(self.run, self.config)
        text = self.model.encode_names(c.name for c in self.store.classes)
        checkpoint = Checkpoint(self.run, self.model)
        begun = checkpoint.load() if resume else None
        if begun:
            self.best_accuracy = begun.best_accuracy
        self._cache()
        stages = [("prototype", self.train_config.prototype_episodes), ("joint", self.train_config.episodes)]
        for stage, episodes in stages:
            if episodes and not (begun and begun.stage == "joint" and stage == "prototype"):
                try:
                    self._stage(stage, episodes, begun if begun and begun.stage == stage else None, text, checkpoint)
                except BaseException:
                    checkpoint.save()  # the last whole update
                    raise
        self._finish(checkpoint)

    def _stage(self, stage: str, episodes: int, begun: Begun | None, text: Tensor, checkpoint: Checkpoint) -> None:
        config = self.train_config
        parameters = self._trainable(stage)
        if not parameters:
            return
        peak = config.prototype_learning_rate if stage == "prototype" else config.learning_rate
        optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=config.weight_decay)
        first, best, stale = (begun.episode, begun.stage_best, begun.stale) if begun else (0, -1.0, 0)
        if first:
            checkpoint.load_optimizer(optimizer)
        views = self._cached_views(text) if stage == "prototype" else None
        losses: list[float] = []
        hits: list[float] = []
        every = max(config.accumulate, math.ceil(episodes / max(1, config.validations)))
        self.model.train()
        with deferred() as check_interrupt:
            if self._is_patience_over(stage, stale):
                return
            for at, loss, accuracy in self._episodes(stage, first, episodes, text, views):
                losses.append(self._backward(stage, at, loss))
                hits.append(accuracy)
                done = at + 1
                if done % config.accumulate and done != episodes:
                    continue
                rate = peak * _schedule(done / episodes, config)
                _update(optimizer, rate)
                checkpoint.reached(Begun(stage, done, self.best_accuracy, best, stale), optimizer)
                self._log(Step(stage, done, episodes, float(np.mean(losses)), float(np.mean(hits)), rate))
                losses, hits = [], []
                if done // every != (done - config.accumulate) // every or done == episodes:
                    accuracy = self._validate(stage, done)
                    # Of this stage alone: what TPCM reached before says nothing of whether this still rises.
                    best, stale = (accuracy, 0) if accuracy > best else (best, stale + 1)
                    checkpoint.reached(Begun(stage, done, self.best_accuracy, best, stale), optimizer)
                    checkpoint.save()
                    if self._is_patience_over(stage, stale):
                        self.watcher.note(f"validation has not risen {stale} times: stopped after {done:,} episodes")
                        break
                check_interrupt()

    def _is_patience_over(self, stage: str, stale: int) -> bool:
        """Whether so many validations brought no new best that the joint part ends; never without validation."""
        return stage == "joint" and self.validation is not None and 0 < self.train_config.patience <= stale

    def _backward(self, stage: str, at: int, loss: Tensor) -> float:
        """Add an episode's gradients; returns its loss. Raises `loss-not-finite`."""
        value = loss.item()
        if not math.isfinite(value):
            raise MaclipError(
                "loss-not-finite",
                f"The loss of {stage} episode {at} is {value}.",
                f"Lower the learning rate of that part; the last good state is in {self.run}.",
            )
        (loss / self.train_config.accumulate).backward()  # type: ignore[no-untyped-call]
        return value

    def _episodes(
        self, stage: str, first: int, episodes: int, text: Tensor, views: tuple[Tensor, Tensor] | None
    ) -> Iterator[tuple[int, Tensor, float]]:
        """Loss and accuracy of each episode, drawn and augmented from (seed, stage, episode) alone."""
        salt = 0 if stage == "prototype" else 1

        def rng(at: int) -> np.random.Generator:
            return np.random.default_rng([self.train_config.seed, salt, at])

        def prepare(at: int) -> tuple[int, Episode, Tensor | None]:
            episode = self.sampler[2 * at + salt]
            loaded = (
                self.store.load(np.concatenate([episode.support, episode.query]), rng(at)) if views is None else None
            )
            return at, episode, loaded

        for at, episode, loaded in ahead(prepare, range(first, episodes), PREPARED_AHEAD):
            torch.manual_seed(int(rng(at).integers(1 << 62)))  # dropout too depends on the episode alone
            ways = text[torch.from_numpy(episode.classes)]
            support_labels = torch.from_numpy(episode.labels(episode.support))
            named = torch.rand(len(ways))[support_labels] >= self.train_config.text_dropout
            if loaded is None:
                assert views is not None
                support, query = _from_views(views, episode, named, rng(at))
            else:
                support, query = self._encode(loaded, ways[support_labels], named)
            yield (at, *self._loss(episode, support, query, ways, named.to(ways.device)))

    def _encode(self, loaded: Tensor, own: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
        """Support clips, those that are `named` with their class's text `own` [S, D'], then queries, in one pass."""
        shots, queries = len(named), len(loaded) - len(named)
        text = torch.cat([own, torch.zeros(queries, own.shape[1], device=own.device)])
        has_text = torch.cat([named, torch.zeros(queries, dtype=torch.bool)]).to(own.device)
        features = self.store.encode(loaded, text, has_text)
        return features[:shots], features[shots:]

    def _loss(
        self, episode: Episode, support: Tensor, query: Tensor, ways: Tensor, named: Tensor
    ) -> tuple[Tensor, float]:
        device = ways.device
        support_labels = torch.from_numpy(episode.labels(episode.support)).to(device)
        query_labels = torch.from_numpy(episode.labels(episode.query)).to(device)
        singles = self.model.prototypes(support, ways[support_labels], named)
        prototypes = mean_by_class(singles, support_labels, len(episode.classes))
        distances, probabilities = self.model.match(query, prototypes, ways)
        loss = episode_loss(
            text_logits(support, ways, self.model.scale),
            text_logits(query, ways, self.model.scale),
            distances,
            support_labels,
            query_labels,
            self.model.config.fusion_weight,
        )
        return loss, float((probabilities.argmax(-1) == query_labels).float().mean())

    def _trainable(self, stage: str) -> list[nn.Parameter]:
        if stage == "joint":
            return self.model.tuned_parameters()
        return [p for part in (self.model.prototype, self.model.metric) if part is not None for p in part.parameters()]

    def _cache(self) -> None:
        mode = self.train_config.cache
        if self.model.config.tuned == "all":  # the stem changes with every update
            if mode == "stem":
                raise MaclipError("option-invalid", "A stem that is tuned cannot be cached.", "Use --cache none.")
            return
        fits = self.store.cache_bytes() <= CACHE_LIMIT_BYTES
        if mode == "stem" or (mode == "auto" and fits and self.model.adapted_depth < self.model.layers):
            for store in self.stores:
                what = "stem, training clips" if store is self.store else "stem, validation clips"
                store.cache_stem(self.watcher.progress(what), self.lenders)

    def _cached_views(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """`views` random views of each clip, with and without text: two [V, clips, T, D']."""
        rng = np.random.default_rng([self.train_config.seed, 2])
        count = self.train_config.views
        progress = self.watcher.progress("features")
        self.model.eval()
        pairs = []
        for done in range(count):
            pairs.append(self.store.both_branches(text, rng))
            progress(done + 1, count)
        support, query = zip(*pairs, strict=True)
        return torch.stack(support), torch.stack(query)

    def _validate(self, stage: str, episode: int) -> float:
        """Try the validation classes and keep the best tuned tensors, or without such classes the last; accuracy."""
        if self.validation is None:
            write_adapters(self.run / ADAPTERS_FILE, self.model)
            return 0.0
        config = self.train_config
        result = Evaluator(self.model, self.validation).evaluate(
            VALIDATION_WAY, 1, config.validation_episodes, VALIDATION_SEED
        )
        self.model.train()
        # Fusion is chosen at the end: compare by the best weight, so that it does not decide between states.
        accuracy = max(result.by_fusion_weight.values())
        self._append({"stage": stage, "episode": episode, "validation": accuracy, "interval": result.interval})
        self.watcher.validated(stage, episode, accuracy, result.interval)
        if accuracy >= self.best_accuracy:
            self.best_accuracy = accuracy
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        return accuracy

    def _finish(self, checkpoint: Checkpoint) -> None:
        """Choose a and the unknown distance on validation classes (else on training classes, and say so)."""
        if not (self.run / ADAPTERS_FILE).is_file():
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        checkpoint.load_adapters(self.run / ADAPTERS_FILE)
        store, where = (self.validation, "validation") if self.validation is not None else (self.store, "training")
        way = min(VALIDATION_WAY, sum(size >= 2 for size in store.sizes))
        if way < 2:
            return
        evaluator = Evaluator(self.model, store, self.watcher.progress("choosing"))
        words = f"{where} classes, {way}-way 1-shot, {CHOOSING_EPISODES} episodes"
        result = evaluator.evaluate(way, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1)
        weight = choose_fusion_weight(result) if self.validation is not None else self.model.config.fusion_weight
        unknown = choose_unknown(evaluator.outcomes(way, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1), words)
        chosen = Chosen(weight, unknown, result.by_fusion_weight[f"{weight:g}"], words)
        self.config = replace(self.config, chosen=chosen)
        write_config(self.run, self.config)
        self._append({"chosen": asdict(chosen), "by_fusion_weight": result.by_fusion_weight})
        self.watcher.note(f"{words}: accuracy {chosen.accuracy:.1%} with text weight a = {weight:g}")

    def _log(self, step: Step) -> None:
        self._append(asdict(step))
        self.watcher.step(step)

    def _append(self, row: dict[str, object]) -> None:
        with (self.run / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _sampler(self, seed: int) -> EpisodeSampler:
        config = self.train_config
        return EpisodeSampler(self.store.sizes, config.way, config.shot, config.queries, seed)

    @staticmethod
    def _fit_for_validation(sizes: list[int]) -> bool:
        return sum(size >= 2 for size in sizes) >= VALIDATION_WAY


def _from_views(
    views: tuple[Tensor, Tensor], episode: Episode, named: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    with_text, without = views
    first, second = (torch.from_numpy(rng.integers(len(without), size=n)) for n in (len(named), len(episode.query)))
    own = torch.from_numpy(episode.support)
    support = torch.where(named.to(without.device)[:, None, None], with_text[first, own], without[first, own])
    return support, without[second, torch.from_numpy(episode.query)]


def _update(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One clipped optimiser step with learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate
        nn.utils.clip_grad_norm_(group["params"], GRADIENT_NORM_LIMIT)
    optimizer.step()
    optimizer.zero_grad()


def _schedule(done: float, config: TrainConfig) -> float:
    """Linear warm-up over the share `warmup`, then a cosine to zero or constant; `done` in 0..1."""
    warmup = config.warmup
    if done < warmup:
        return done / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1e-9, 1 - warmup)))
