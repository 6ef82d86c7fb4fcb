"""Episodic training: the prototype module first on cached features, then everything that is tuned
(docs/method.md, sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from maclip.config import Machine
from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import Dataset
from maclip.data.disk_cache import ClipCache
from maclip.data.stem_cache import stem_cache_place
from maclip.evaluation.evaluator import DEFAULT_SUPPORT, Evaluator, Support
from maclip.evaluation.selection import choose_fusion_weight, choose_limit
from maclip.model.maclip import MaClip
from maclip.runs import (
    ADAPTERS_FILE,
    Chosen,
    RunConfig,
    load_adapters,
    put_adapters,
    write_adapters,
    write_config,
)
from maclip.training.callbacks import Callbacks
from maclip.training.checkpoint import Checkpoint, Saved
from maclip.training.distributed import Team, start_team
from maclip.training.episode_loader import EpisodeLoader
from maclip.training.loop import Stage, Validations
from maclip.training.metrics_log import MetricsLog
from maclip.training.optimizer import Optimizer
from maclip_runtime.errors import MaclipError

STEM_DIR = "stem"  # in the run, where stem tokens go to disk
CACHE_LIMIT_BYTES = 3 << 30  # "auto" caches stem tokens in memory up to this size
VALIDATION_SEED = 20_000
VALIDATION_WAY = 5
# Chosen once at the end, from more episodes than each validation on the way.
CHOOSING_EPISODES = 1000


class Trainer:
    """Trains `model` on `data` into a run folder.

    model: what is trained, on its device.
    data: classes of split train, and for validation of split val.
    config: goes to RUN/config.json; `config.train` says how to train.
    run: the run folder.
    callbacks: told what happens.
    reuse: stores of an earlier training on the same clips, whose stem tokens are shared where they fit.
    machine: what to use of the machine.
    team: the processes that train together, each with a trainer of its own; default: this one alone.
    free_frozen: free weights that training no longer needs; the model cannot be used afterwards but for its tuned
        tensors.
    """

    def __init__(
        self,
        model: MaClip,
        data: Dataset,
        config: RunConfig,
        run: Path,
        *,
        callbacks: Callbacks | None = None,
        reuse: tuple[ClipStore, ...] = (),
        machine: Machine | None = None,
        team: Team | None = None,
        free_frozen: bool = True,
    ) -> None:
        self.machine = machine or Machine()
        self.team = team or start_team(Machine(device=model.pixel_mean.device.type), config.train.precision)
        self.reuse, self.free_frozen = reuse, free_frozen
        self.model, self.config, self.run = model, config, run
        self.train_config = config.train
        accumulate = config.train.optimizer.accumulate
        if accumulate < self.team.size:
            raise MaclipError(
                "option-invalid",
                f"An update of {accumulate} episodes leaves some of {self.team.size} processes idle.",
                f"Raise --accumulate to {self.team.size} or more.",
            )
        model.checkpointing = config.train.checkpointing
        self.callbacks = callbacks if callbacks is not None and self.team.leads else Callbacks()
        tensorboard = self.machine.tensorboard and self.team.leads
        self.log = MetricsLog(run, config.train.prototype_episodes, tensorboard)
        self.checkpoint = Checkpoint(run, model)
        cache = ClipCache(self.machine.frame_cache, self.callbacks.note) if self.machine.frame_cache else None
        reader = ClipReader(
            model.backbone.preprocess,
            model.config.frames,
            self.machine.decoder,
            cache,
            config.train.caching.view_frames,
        )
        broken = self.machine.max_broken
        self.store = ClipStore(
            data.split("train"), reader, max_broken=broken, stem_views=config.train.caching.stem_views
        )
        if not len(self.store):
            raise MaclipError("data-empty", f"{data.root} has no training class.", "Give classes the split 'train'.")
        # Data without splits is all for training: nothing is left to choose on.
        held_out = data.split("val") if data.has_splits() else ()
        self.validation = (
            ClipStore(held_out, reader, max_broken=broken, views=False)
            if _way([len(c.clips) for c in held_out]) >= 2
            else None
        )
        self.validations = Validations()

    @property
    def stores(self) -> tuple[ClipStore, ...]:
        """The training clips and, where there are such classes, those of validation."""
        return (self.store,) if self.validation is None else (self.store, self.validation)

    def fit(self, *, resume: bool = False) -> None:
        """Train to the end. After an interruption the last state is on disk, and `fit(resume=True)` goes on."""
        team = self.team
        if self.validation is None:
            self.callbacks.note(
                "No two validation classes have two clips each: the last state is kept, not the best, and patience "
                "ends nothing."
            )
        try:
            saved = team.lead(lambda: self._begin(resume))
            if saved:
                put_adapters(self.model, saved.weights, self.checkpoint.path)
                self.validations = Validations(saved.progress.best_accuracy)
                team.together(lambda: self.store.recheck(saved.progress.broken))
            text = team.together(lambda: self.model.encode_names(c.name for c in self.store.classes))
            loader = EpisodeLoader(self.store, self.train_config, text, workers=self.machine.workers)
            # What is on disk already is not computed again by each process.
            on_disk = self.train_config.caching.cache == "disk" or self.machine.stem_cache is not None
            team.together(self._cache, in_turn=on_disk)
            if self.train_config.caching.stem_views and not self.store.is_cached:
                self.callbacks.note("No stem is cached, so its views are not either: each view is drawn anew.")
            if self.free_frozen:
                self._free_frozen()
            stages = [("prototype", self.train_config.prototype_episodes), ("joint", self.train_config.episodes)]
            for stage, episodes in stages:
                if episodes and not (saved and saved.progress.stage == "joint" and stage == "prototype"):
                    self._stage(stage, episodes, loader, saved if saved and saved.progress.stage == stage else None)
            if team.leads:
                self._finish()
        except BaseException:
            if team.leads:
                self.checkpoint.save()  # the last whole update
            raise
        finally:
            self._report_broken()
            self.log.close()

    @property
    def _support(self) -> Support:
        """The names that validation's support clips get: a model that never learnt with names is chosen without."""
        return Support("none") if self.train_config.text_dropout == 1.0 else DEFAULT_SUPPORT

    def _begin(self, resume: bool) -> Saved | None:
        """Read the checkpoint to resume from, and bring the folder to that moment."""
        write_config(self.run, self.config)
        saved = self.checkpoint.load() if resume else None
        if saved:
            self.log.begin(saved.progress.logged, saved.progress.stage, saved.progress.episode)
        else:
            self.log.begin(0)
        return saved

    def _stage(self, name: str, episodes: int, loader: EpisodeLoader, saved: Saved | None) -> None:
        parameters = self._trainable(name)
        if not parameters:
            return
        done = saved.progress if saved else None
        self.validations = Validations(self.validations.best, *((done.stage_best, done.stale) if done else ()))
        stage = Stage(
            Optimizer(self.model, loader, self.team, name, parameters),
            episodes,
            validations=self.validations,
            validate=lambda done: self._validate(name, done),
            checkpoint=self.checkpoint,
            log=self.log,
            callbacks=self.callbacks,
            save_seconds=self.machine.save_seconds,
            # Without validation classes nothing says that accuracy no longer rises.
            patience=self.train_config.validation.patience if name == "joint" and self.validation is not None else 0,
        )
        progress = self.callbacks.progress
        stage.run(saved, lambda: loader.views(self.model, progress("features")) if name == "prototype" else None)

    def _trainable(self, stage: str) -> list[nn.Parameter]:
        if stage == "joint":
            return self.model.tuned_parameters()
        return [p for part in (self.model.prototype, self.model.metric) if part is not None for p in part.parameters()]

    def _cache(self) -> None:
        mode, asked = self.train_config.caching.cache, self.machine.stem_cache
        if self.model.config.tune == "all":  # the stem changes with every update
            if mode in ("stem", "disk"):
                raise MaclipError("option-invalid", "A stem that is tuned cannot be cached.", "Use --cache none.")
            return
        if mode == "auto" and self.model.adapted_depth == self.model.layers:
            return
        stem = self.model.frozen_stem()
        folder = asked or self.run / STEM_DIR
        place = stem_cache_place(mode, self.store.cache_bytes(stem), CACHE_LIMIT_BYTES, folder, asked is not None)
        if place == "none":
            if mode == "auto":
                self.callbacks.note("The stem's output fits neither memory nor disk: clips are decoded each time.")
            return
        disk = ClipCache(folder, self.callbacks.note) if place == "disk" else None
        # Validation is the first process's.
        for store in self.stores if self.team.leads else (self.store,):
            what = "stem, training clips" if store is self.store else "stem, validation clips"
            store.cache_stem(stem, progress=self.callbacks.progress(what), reuse=self.reuse, disk=disk)

    def _free_frozen(self) -> None:
        """Free the text encoder, and the stem where all is cached."""
        names = [[c.name for c in store.classes] for store in self.stores]
        used = self.stores if self.team.leads else (self.store,)  # validation is the first process's
        self.model.free_frozen(names, stem=all(store.is_cached for store in used))

    def _report_broken(self) -> None:
        """Name the clips that were skipped."""
        for store, of in zip(self.stores, ("training", "validation"), strict=False):
            if store.broken:
                lines = "\n".join(store.broken.report())
                self.callbacks.note(f"{len(store.broken)} of {len(store)} {of} clips skipped:\n{lines}")

    def _validate(self, stage: str, episode: int) -> float:
        """Try the validation classes and keep the best tuned tensors, or without such classes the last; accuracy."""
        if self.validation is None:
            write_adapters(self.run / ADAPTERS_FILE, self.model)
            return 0.0
        evaluator = Evaluator(self.model, self.validation, support=self._support)
        if _way(evaluator.sizes) < 2:
            raise MaclipError(
                "data-broken",
                "So many validation clips are broken that no two classes have two left.",
                "Repair them (maclip data check names them), or train on data without validation classes.",
            )
        episodes = self.train_config.validation.validation_episodes
        result = evaluator.evaluate(_way(evaluator.sizes), 1, episodes, VALIDATION_SEED)
        # The fusion weight is chosen at the end: compare by the best one, so that it does not decide between states.
        accuracy = result.by_fusion_weight[f"{choose_fusion_weight(result):g}"]
        self.log.validated(stage, episode, accuracy, result.interval)
        self.callbacks.validated(stage, episode, accuracy, result.interval)
        if accuracy >= self.validations.best:
            self.validations.best = accuracy
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        return accuracy

    def _finish(self) -> None:
        """Choose a and the limit on validation classes (else on training classes, and say so)."""
        if not (self.run / ADAPTERS_FILE).is_file():
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        self.checkpoint.leaving()  # what is saved stays the last state, not the best
        load_adapters(self.model, self.run / ADAPTERS_FILE)
        store, where = (self.validation, "validation") if self.validation is not None else (self.store, "training")
        evaluator = Evaluator(self.model, store, self.callbacks.progress("choosing"), self._support)
        way = _way(evaluator.sizes)
        if way < 2:
            return
        words = f"{where} classes, {way}-way 1-shot, {CHOOSING_EPISODES} episodes"
        result = evaluator.evaluate(way, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1)
        if self.validation is None:
            weight, accuracy = self.model.config.text.fusion_weight, result.accuracy
        else:
            weight = choose_fusion_weight(result)
            accuracy = result.by_fusion_weight[f"{weight:g}"]
        limit = choose_limit(evaluator.outcomes(way, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1), words)
        chosen = Chosen(weight, limit, accuracy, words)
        self.config = replace(self.config, chosen=chosen)
        write_config(self.run, self.config)
        self.log.chosen({"chosen": asdict(chosen), "by_fusion_weight": result.by_fusion_weight})
        self.callbacks.note(f"{words}: accuracy {chosen.accuracy:.1%} with text weight a = {weight:g}")


def _way(sizes: Sequence[int]) -> int:
    """Classes of a validation's episodes, where classes have `sizes` clips: each needs one to show and one to ask."""
    return min(VALIDATION_WAY, sum(size >= 2 for size in sizes))
