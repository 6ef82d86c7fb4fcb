"""Episodic training: TPCM first on cached features, then everything that is tuned (method.md sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor, nn

from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import DataSet
from maclip.data.disk_cache import ClipCache
from maclip.data.stem_cache import stem_place
from maclip.evaluation.evaluator import DEFAULT_SUPPORT, Evaluator, Support, choose_fusion_weight, choose_limit
from maclip.model.maclip import MaClip
from maclip.runs import (
    ADAPTERS_FILE,
    Chosen,
    RunConfig,
    TrainConfig,
    load_adapters,
    put_adapters,
    write_adapters,
    write_config,
)
from maclip.training.checkpoint import Checkpoint, Saved
from maclip.training.distributed import DEFAULT_MACHINE, Machine, Team, start_team
from maclip.training.episode_loader import Feed
from maclip.training.loop import Stage, Standing
from maclip.training.reporting import Journal, Step, Unwatched, Watcher
from maclip.training.step import Learner
from maclip_runtime.errors import MaclipError

__all__ = ["CHOOSING_EPISODES", "VALIDATION_SEED", "VALIDATION_WAY", "Step", "Trainer", "Watcher"]

STEM_DIR = "stem"  # in the run, where stem tokens go to disk
CACHE_LIMIT_BYTES = 3 << 30  # "auto" caches stem tokens up to this size
VALIDATION_SEED = 20_000
VALIDATION_WAY = 5
# Chosen once at the end, from more episodes than each validation on the way.
CHOOSING_EPISODES = 1000


class Trainer:
    """Trains `model` on `data` into the folder `run`; `resume` continues from `run`/state.

    `lenders` are stores of another training on the same clips: their stem tokens are used where they fit.
    `team`: the processes that train together, each with a trainer of its own; by default this one alone.
    """

    def __init__(
        self,
        model: MaClip,
        data: DataSet,
        config: RunConfig,
        run: Path,
        watcher: Watcher,
        lenders: tuple[ClipStore, ...] = (),
        machine: Machine = DEFAULT_MACHINE,
        team: Team | None = None,
    ) -> None:
        self.machine = machine
        self.team = team or start_team(Machine(model.pixel_mean.device.type), config.train.precision)
        self.lenders = lenders
        self.model, self.config, self.run = model, config, run
        self.train_config: TrainConfig = config.train
        if config.train.accumulate < self.team.size:
            raise MaclipError(
                "option-invalid",
                f"An update of {config.train.accumulate} episodes leaves some of {self.team.size} processes idle.",
                f"Raise --accumulate to {self.team.size} or more.",
            )
        self.model.checkpointing = config.train.checkpointing
        self.watcher = watcher if self.team.leads else Unwatched()
        tensorboard = self.machine.tensorboard and self.team.leads
        self.journal = Journal(run, config.train.prototype_episodes, tensorboard)
        self.checkpoint = Checkpoint(run, model)
        cache = ClipCache(self.machine.frame_cache, self.watcher.note) if self.machine.frame_cache else None
        reader = ClipReader(
            model.backbone.preprocess, model.config.frames, self.machine.decoder, cache, config.train.view_frames
        )
        self.store = ClipStore(
            model, data.split("train"), reader, self.machine.max_broken, stem_views=config.train.stem_views
        )
        if not len(self.store):
            raise MaclipError("data-empty", f"{data.root} has no training class.", "Give classes the split 'train'.")
        self.feed = Feed(self.store, config.train, self.machine.workers)
        # Data without splits is all for training: nothing is left to choose on.
        held_out = data.split("val") if data.has_splits() else ()
        self.validation = (
            ClipStore(model, held_out, reader, self.machine.max_broken, views=False)
            if _way([len(c.clips) for c in held_out]) >= 2
            else None
        )
        self.standing = Standing()

    @property
    def stores(self) -> tuple[ClipStore, ...]:
        """Training's clips and, where there are such classes, validation's."""
        return (self.store,) if self.validation is None else (self.store, self.validation)

    def fit(self, resume: bool = False) -> None:
        """Train to the end. On any interruption the last state is on disk and `fit(resume=True)` goes on."""
        team = self.team
        if self.validation is None:
            self.watcher.note(
                "No two validation classes have two clips each: the last state is kept, not the best, and patience "
                "ends nothing."
            )
        try:
            saved = team.lead(lambda: self._begin(resume))
            if saved:
                put_adapters(self.model, saved.weights, self.checkpoint.path)
                self.standing = Standing(saved.begun.best_accuracy)
                team.together(lambda: self.store.look_again(saved.begun.broken))
            text = team.together(lambda: self.model.encode_names(c.name for c in self.store.classes))
            # What is on disk already is not computed again by each process.
            on_disk = self.train_config.cache == "disk" or self.machine.stem_cache is not None
            team.together(self._cache, in_turn=on_disk)
            if self.train_config.stem_views and not self.store.is_cached:
                self.watcher.note("No stem is cached, so its views are not either: each view is drawn anew.")
            self._let_go()
            stages = [("prototype", self.train_config.prototype_episodes), ("joint", self.train_config.episodes)]
            for stage, episodes in stages:
                if episodes and not (saved and saved.begun.stage == "joint" and stage == "prototype"):
                    self._stage(stage, episodes, saved if saved and saved.begun.stage == stage else None, text)
            if team.leads:
                self._finish()
        except BaseException:
            if team.leads:
                self.checkpoint.save()  # the last whole update
            raise
        finally:
            self._report_broken()
            self.journal.close()

    @property
    def _support(self) -> Support:
        """What the clips of validation are told: a model that never learnt with names is chosen without them."""
        return Support("none") if self.train_config.text_dropout == 1.0 else DEFAULT_SUPPORT

    def _begin(self, resume: bool) -> Saved | None:
        """Read where to go on, and bring the folder to that moment."""
        write_config(self.run, self.config)
        saved = self.checkpoint.load() if resume else None
        if saved:
            self.journal.begin(saved.begun.journal, saved.begun.stage, saved.begun.episode)
        else:
            self.journal.begin(0)
        return saved

    def _stage(self, name: str, episodes: int, saved: Saved | None, text: Tensor) -> None:
        parameters = self._trainable(name)
        if not parameters:
            return
        learner = Learner(self.model, self.feed, text, self.team, name, parameters)
        begun = saved.begun if saved else None
        self.standing = Standing(self.standing.best, *((begun.stage_best, begun.stale) if begun else ()))
        stage = Stage(
            learner,
            episodes,
            self.standing,
            lambda done: self._validate(name, done),
            self.checkpoint,
            self.journal,
            self.watcher,
            self.machine.save_seconds,
            # Without validation classes nothing says that it no longer rises.
            self.train_config.patience if name == "joint" and self.validation is not None else 0,
        )
        progress = self.watcher.progress
        stage.run(saved, lambda: self.feed.views(text, progress("features")) if name == "prototype" else None)

    def _trainable(self, stage: str) -> list[nn.Parameter]:
        if stage == "joint":
            return self.model.tuned_parameters()
        return [p for part in (self.model.prototype, self.model.metric) if part is not None for p in part.parameters()]

    def _cache(self) -> None:
        mode, asked = self.train_config.cache, self.machine.stem_cache
        if self.model.config.tuned == "all":  # the stem changes with every update
            if mode in ("stem", "disk"):
                raise MaclipError("option-invalid", "A stem that is tuned cannot be cached.", "Use --cache none.")
            return
        if mode == "auto" and self.model.adapted_depth == self.model.layers:
            return
        folder = asked or self.run / STEM_DIR
        place = stem_place(mode, self.store.cache_bytes(), CACHE_LIMIT_BYTES, folder, asked is not None)
        if place == "none":
            if mode == "auto":
                self.watcher.note("The stem's output fits neither memory nor disk: clips are decoded each time.")
            return
        disk = ClipCache(folder, self.watcher.note) if place == "disk" else None
        # Validation is the first process's.
        for store in self.stores if self.team.leads else (self.store,):
            what = "stem, training clips" if store is self.store else "stem, validation clips"
            store.cache_stem(self.watcher.progress(what), self.lenders, disk)

    def _let_go(self) -> None:
        """Weights that nothing asks again are given back: of the text encoder, and of the stem where all is cached."""
        names = [[c.name for c in store.classes] for store in self.stores]
        asked = self.stores if self.team.leads else (self.store,)  # validation is the first process's
        self.model.let_go(names, stem=all(store.is_cached for store in asked))

    def _report_broken(self) -> None:
        """Name the clips that were skipped."""
        for store, of in zip(self.stores, ("training", "validation"), strict=False):
            if store.broken:
                lines = "\n".join(store.broken.report())
                self.watcher.note(f"{len(store.broken)} of {len(store)} {of} clips skipped:\n{lines}")

    def _validate(self, stage: str, episode: int) -> float:
        """Try the validation classes and keep the best tuned tensors, or without such classes the last; accuracy."""
        if self.validation is None:
            write_adapters(self.run / ADAPTERS_FILE, self.model)
            return 0.0
        config = self.train_config
        evaluator = Evaluator(self.model, self.validation, support=self._support)
        if _way(evaluator.sizes) < 2:
            raise MaclipError(
                "data-broken",
                "So many validation clips are broken that no two classes have two left.",
                "Mend them (maclip data check names them), or train on data without validation classes.",
            )
        result = evaluator.evaluate(_way(evaluator.sizes), 1, config.validation_episodes, VALIDATION_SEED)
        # Fusion is chosen at the end: compare by the best weight, so that it does not decide between states.
        accuracy = result.by_fusion_weight[f"{choose_fusion_weight(result):g}"]
        self.journal.validated(stage, episode, accuracy, result.interval)
        self.watcher.validated(stage, episode, accuracy, result.interval)
        if accuracy >= self.standing.best:
            self.standing.best = accuracy
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        return accuracy

    def _finish(self) -> None:
        """Choose a and the unknown distance on validation classes (else on training classes, and say so)."""
        if not (self.run / ADAPTERS_FILE).is_file():
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        self.checkpoint.leaving()  # what is saved stays the last state, not the best
        load_adapters(self.model, self.run / ADAPTERS_FILE)
        store, where = (self.validation, "validation") if self.validation is not None else (self.store, "training")
        evaluator = Evaluator(self.model, store, self.watcher.progress("choosing"), self._support)
        way = _way(evaluator.sizes)
        if way < 2:
            return
        words = f"{where} classes, {way}-way 1-shot, {CHOOSING_EPISODES} episodes"
        result = evaluator.evaluate(way, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1)
        if self.validation is None:
            weight, accuracy = self.model.config.fusion_weight, result.accuracy
        else:
            weight = choose_fusion_weight(result)
            accuracy = result.by_fusion_weight[f"{weight:g}"]
        limit = choose_limit(evaluator.outcomes(way, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1), words)
        chosen = Chosen(weight, limit, accuracy, words)
        self.config = replace(self.config, chosen=chosen)
        write_config(self.run, self.config)
        self.journal.chosen({"chosen": asdict(chosen), "by_fusion_weight": result.by_fusion_weight})
        self.watcher.note(f"{words}: accuracy {chosen.accuracy:.1%} with text weight a = {weight:g}")


def _way(sizes: Sequence[int]) -> int:
    """Classes of a validation's episodes, where classes have `sizes` clips: each takes one to show and one to ask."""
    return min(VALIDATION_WAY, sum(size >= 2 for size in sizes))
