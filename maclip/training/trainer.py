"""Episodic training in two stages: the prototype module on cached features, then all tuned parameters.

See docs/method.md, sections 5 and 6.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from maclip.config import Machine
from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import Dataset
from maclip.data.disk_cache import ClipCache
from maclip.data.shared_memory import Room, available_bytes
from maclip.data.stem_cache import stem_cache_place
from maclip.data.stream_windows import Windows
from maclip.evaluation.evaluator import Evaluator
from maclip.evaluation.selection import choose_fusion_weight
from maclip.model.maclip import MaClip
from maclip.runs import (
    ADAPTERS_FILE,
    COHORT_FILE,
    STATE_DIR,
    RunConfig,
    load_adapters,
    put_adapters,
    write_adapters,
    write_cohort,
    write_config,
)
from maclip.training.callbacks import Callbacks
from maclip.training.checkpoint import Checkpoint, Saved
from maclip.training.choosing import VALIDATION_SEED, choose, validation_support, validation_way
from maclip.training.distributed import Team, start_team
from maclip.training.episode_loader import EpisodeLoader, Views
from maclip.training.loop import Stage, Validations
from maclip.training.metrics_log import MetricsLog
from maclip.training.optimizer import Optimizer
from maclip.training.streams import stream_windows
from maclip_runtime.errors import MaclipError

STEM_DIR = "stem"  # in the run, for stem tokens on disk
CACHE_LIMIT_BYTES = 3 << 30  # "auto" caches stem tokens in memory up to this size


class Trainer:
    """Trains a model on a dataset into a run folder.

    model: the model, on its device.
    data: its split "train" is for training, "val" for validation.
    config: content of RUN/config.json; `config.train` configures the training.
    run: the run folder.
    callbacks: called on progress, updates, validations and notes.
    reuse: stores of earlier trainings on the same clips, whose stem tokens are shared if identical.
    machine: devices, caches and threads.
    team: processes of the training, each with its own trainer; default: this process.
    free_frozen: free weights that training no longer needs; afterwards only the tuned tensors of the model are usable.
        Default True.
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
        model.cohort = None  # it would be of earlier weights
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
            data.split("train"),
            reader,
            max_broken=broken,
            stem_views=config.train.caching.stem_views,
            workers=self.machine.workers,
        )
        if not len(self.store):
            raise MaclipError("data-empty", f"{data.root} has no training class.", "Give classes the split 'train'.")
        text = model.encode_names(c.name for c in self.store.classes)
        self.loader = EpisodeLoader(self.store, config.train, text, workers=self.machine.workers)
        # Without splits all classes are for training, none for validation.
        held_out = data.split("val") if data.has_splits() else ()
        self.validation = (
            ClipStore(held_out, reader, max_broken=broken, views=False, workers=self.machine.workers)
            if validation_way([len(c.clips) for c in held_out]) >= 2
            else None
        )
        self.validations = Validations()
        self._disk: ClipCache | None = None  # holds stem tokens

    @property
    def stores(self) -> tuple[ClipStore, ...]:
        """The training clips, and the validation clips if there are any."""
        return (self.store,) if self.validation is None else (self.store, self.validation)

    def fit(self, *, resume: bool = False) -> None:
        """Train to the end. On interruption it saves a checkpoint; `fit(resume=True)` continues from it."""
        team = self.team
        if self.validation is None:
            self.callbacks.note(
                "There are no two validation classes with two clips each: the last weights are kept, not the best, and "
                "patience has no effect."
            )
        try:
            saved = team.lead(lambda: self._begin(resume))
            if saved:
                put_adapters(self.model, saved.weights, self.checkpoint.path)
                team.together(lambda: self.store.recheck(saved.progress.broken))
            with team.shared(self.run / STATE_DIR) as room:
                team.together(lambda: self._cache(room))
            team.share_broken(self.store.broken)
            self.loader.windows = team.together(self._windows)
            if self.train_config.caching.stem_views and not self.store.is_cached:
                self.callbacks.note("There is no stem cache, so --stem-views has no effect: each view is drawn anew.")
            if self.free_frozen:
                self._free_frozen()
            stages = [("prototype", self.train_config.prototype_episodes), ("joint", self.train_config.episodes)]
            for stage, episodes in stages:
                if episodes and not (saved and saved.progress.stage == "joint" and stage == "prototype"):
                    self._stage(stage, episodes, saved if saved and saved.progress.stage == stage else None)
            if team.leads:
                self._finish()
        except BaseException:
            if team.leads:
                self.checkpoint.save()  # of the last complete update
            raise
        finally:
            self._report_broken()
            self.log.close()

    def _begin(self, resume: bool) -> Saved | None:
        """Write the config; load the checkpoint to resume from, and truncate the log to it."""
        write_config(self.run, self.config)
        saved = self.checkpoint.load() if resume else None
        if saved:
            self.log.begin(saved.progress.logged, saved.progress.stage, saved.progress.episode)
        else:
            self.log.begin(0)
        return saved

    def _stage(self, name: str, episodes: int, saved: Saved | None) -> None:
        parameters = self._trainable(name)
        if not parameters:
            return
        # The state that is kept is chosen within the last stage: that of an earlier one lacks what this one trains.
        self.validations = Validations(*((saved.progress.best, saved.progress.stale) if saved else ()))
        stage = Stage(
            Optimizer(self.model, self.loader, self.team, name, parameters),
            episodes,
            validations=self.validations,
            validate=lambda done: self._validate(name, done),
            checkpoint=self.checkpoint,
            log=self.log,
            callbacks=self.callbacks,
            save_seconds=self.machine.save_seconds,
            # Early stopping needs validation classes.
            patience=self.train_config.validation.patience if name == "joint" and self.validation is not None else 0,
        )
        stage.run(saved, self._views if name == "prototype" else lambda: None)

    def _views(self) -> Views:
        """Features of views of every clip, in memory that the processes of a machine share."""
        progress = self.callbacks.progress("features")
        with self.team.shared(self.run / STATE_DIR) as room:
            found = self.team.together(lambda: self.loader.views(self.model, progress, room))
        self.team.share_broken(self.store.broken)
        return found

    def _trainable(self, stage: str) -> list[nn.Parameter]:
        if stage == "joint":
            return self.model.tuned_parameters()
        parts = [part for part in (self.model.prototype, self.model.metric) if part is not None]
        none = [] if self.model.none_distance is None else [self.model.none_distance]
        return [p for part in parts for p in part.parameters()] + none

    def _cache(self, room: Room | None) -> None:
        mode, given = self.train_config.caching.cache, self.machine.stem_cache
        if self.model.config.tune == "all":  # the stem changes with every update
            if mode in ("stem", "disk"):
                raise MaclipError("option-invalid", "With --tune all the stem cannot be cached.", "Use --cache none.")
            return
        if mode == "auto" and not self.model.has_frozen_stem:
            return
        stem = self.model.frozen_stem()
        folder = given or self.run / STEM_DIR
        size = sum(store.cache_bytes(stem) for store in self.stores)
        limit = min(CACHE_LIMIT_BYTES, (available_bytes() or 2 * CACHE_LIMIT_BYTES) // 2)
        place = stem_cache_place(mode, size, limit, folder, given is not None)
        if place == "none":
            if mode == "auto":
                self.callbacks.note("Stem tokens fit neither in memory nor on disk: clips are decoded each time.")
            return
        self._disk = disk = ClipCache(folder, self.callbacks.note) if place == "disk" else None
        # Only the first process validates.
        for store in self.stores if self.team.leads else (self.store,):
            what = "stem, training clips" if store is self.store else "stem, validation clips"
            own = room if store is self.store else None
            store.cache_stem(stem, progress=self.callbacks.progress(what), reuse=self.reuse, disk=disk, room=own)

    def _windows(self) -> Windows | None:
        """Windows of streams as queries, if the configuration asks for them."""
        stem = self.model.frozen_stem() if self.store.is_cached else None
        config = self.train_config
        return stream_windows(
            config.streams, self.store, stem, seed=config.seed, callbacks=self.callbacks, disk=self._disk
        )

    def _free_frozen(self) -> None:
        """Free the text encoder, and the stem if all its tokens are cached."""
        names = [[c.name for c in store.classes] for store in self.stores]
        used = self.stores if self.team.leads else (self.store,)  # only the first process validates
        self.model.free_frozen(names, stem=all(store.is_cached for store in used))

    def _report_broken(self) -> None:
        """Report the broken clips."""
        for store, of in zip(self.stores, ("training", "validation"), strict=False):
            if store.broken:
                lines = "\n".join(store.broken.report())
                self.callbacks.note(f"{len(store.broken)} of {len(store)} {of} clips skipped:\n{lines}")

    def _validate(self, stage: str, episode: int) -> float:
        """Validate; write the tuned tensors if they are the best so far or there is no validation. Returns accuracy."""
        if self.validation is None:
            write_adapters(self.run / ADAPTERS_FILE, self.model)
            return 0.0
        evaluator = Evaluator(self.model, self.validation, support=validation_support(self.train_config))
        if validation_way(evaluator.sizes) < 2:
            raise MaclipError(
                "data-broken",
                "Too many validation clips are broken: no two classes with two clips are left.",
                "Repair them (maclip data check names them), or train on data without validation classes.",
            )
        episodes = self.train_config.validation.validation_episodes
        result = evaluator.evaluate(validation_way(evaluator.sizes), 1, episodes, VALIDATION_SEED)
        # Compare by the accuracy at the best fusion weight: the weight itself is chosen at the end.
        best = f"{choose_fusion_weight(result):g}"
        accuracy, interval = result.by_fusion_weight[best], result.interval_by_fusion_weight[best]
        self.log.validated(stage, episode, accuracy, interval)
        self.callbacks.validated(stage, episode, accuracy, interval)
        if accuracy > self.validations.best:
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        return accuracy

    def _finish(self) -> None:
        """Choose on validation classes (`choosing.choose`) with the best weights; write and tell it."""
        if not (self.run / ADAPTERS_FILE).is_file():
            write_adapters(self.run / ADAPTERS_FILE, self.model)
        self.checkpoint.leaving()  # the saved checkpoint stays the last state, not the best
        load_adapters(self.model, self.run / ADAPTERS_FILE)
        made = choose(self.model, self.store, self.validation, self.train_config, self.callbacks.progress("choosing"))
        if made is None:
            return
        chosen = made.chosen
        if self.model.cohort is not None:
            write_cohort(self.run / COHORT_FILE, self.model.cohort.prototypes)
        self.config = replace(self.config, chosen=chosen)
        write_config(self.run, self.config)
        self.log.chosen({"chosen": asdict(chosen), "by_fusion_weight": made.by_fusion_weight})
        how = f"with names and text weight a = {chosen.fusion_weight:g}" if chosen.names else "without names"
        self.callbacks.note(f"{chosen.measured_on}: accuracy {chosen.accuracy:.1%} {how}")
