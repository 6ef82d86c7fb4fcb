"""The training loop of one stage: update, log, validate and save checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from maclip.training.callbacks import Callbacks, Step
from maclip.training.checkpoint import Checkpoint, Progress, Saved
from maclip.training.episode_loader import Batch, Views
from maclip.training.metrics_log import MetricsLog
from maclip.training.optimizer import Optimizer
from maclip.training.schedule import is_validation_due, learning_rate, updates
from maclip_runtime.errors import MaclipError
from maclip_runtime.interrupts import deferred

NOT_FINITE = ("loss-not-finite", "answers-not-finite")


@dataclass
class Validations:
    """Results of the validations of one stage: the `best` accuracy, and validations since that (`stale`)."""

    best: float = -1.0
    stale: int = 0


class Stage:
    """One stage of a training.

    optimizer: of this stage, with its model, loader and team.
    episodes: number of episodes.
    validations: results of validations of this stage; updated here.
    validate: called with the number of finished episodes, returns the accuracy (0..1).
    checkpoint: saves the state.
    log: metrics log.
    callbacks: called on updates, validations and notes.
    save_seconds: interval of checkpoints between validations.
    patience: number of stale validations that end the stage; default 0: never.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        episodes: int,
        *,
        validations: Validations,
        validate: Callable[[int], float],
        checkpoint: Checkpoint,
        log: MetricsLog,
        callbacks: Callbacks,
        save_seconds: float,
        patience: int = 0,
    ) -> None:
        self.optimizer, self.episodes, self.validations, self.validate = optimizer, episodes, validations, validate
        self.checkpoint, self.log, self.callbacks = checkpoint, log, callbacks
        self.save_seconds, self.patience = save_seconds, patience
        self.name, self.team, self.loader = optimizer.stage, optimizer.team, optimizer.loader
        self.config = self.loader.config
        self._saved_at = time.monotonic()

    def run(self, saved: Saved | None, views: Callable[[], Views | None]) -> None:
        """Train from the start, or from the checkpoint `saved`. `views` returns cached features, or None."""
        first, team = 0, self.team
        if saved:
            first = saved.progress.episode
            saved.load_moments(self.optimizer.optimizer)
            self.optimizer.scaler = saved.progress.scaler
            if not saved.progress.validated:
                self._validate(first)
        if first >= self.episodes or self._is_over():
            return
        cached = views()
        batches = self.loader.batches(self.name, team.share(range(first, self.episodes)), cached)
        self.optimizer.model.train()
        with deferred() as is_interrupted, self._keeping_finite():
            for update in updates(first, self.episodes, self.config.optimizer.accumulate):
                loss, accuracy = self._accumulate(update, batches)
                (stop,) = team.agree([float(is_interrupted())])
                if time.monotonic() - self._saved_at > self.save_seconds:
                    self._save()  # only now: this finite loss shows that the weights are good
                self._update(update, loss, accuracy)
                if self._is_validation_due(update.stop):
                    self._validate(update.stop)
                if stop:
                    raise team.known(KeyboardInterrupt())
                if self._is_over():
                    stale, done = self.validations.stale, update.stop
                    self.callbacks.note(f"no better validation in {stale} validations: stopped after {done:,} episodes")
                    break
            # A signal since the last `agree` must not be lost.
            (stop,) = team.agree([float(is_interrupted())])
            if stop:
                raise team.known(KeyboardInterrupt())

    @contextmanager
    def _keeping_finite(self) -> Iterator[None]:
        """On NaN or infinity, keep the last good checkpoint if the weights themselves are broken."""
        try:
            yield
        except MaclipError as error:
            if error.code in NOT_FINITE and self.team.leads and not self.optimizer.is_finite():
                self.checkpoint.leaving()
            raise

    def _accumulate(self, update: range, batches: Iterator[Batch]) -> tuple[float, float]:
        """Add the gradients of this process's episodes of `update`; returns mean loss and accuracy of all episodes."""
        loss, hits = 0.0, 0.0
        with self.team.attempt():
            for _ in self.team.share(update):
                figures = self.optimizer.accumulate(next(batches))
                loss, hits = loss + figures[0], hits + figures[1]
        loss, hits = self.team.agree([loss, hits])
        return loss / len(update), hits / len(update)

    def _update(self, update: range, loss: float, accuracy: float) -> None:
        done = update.stop
        rate = learning_rate(self.name, update, self.episodes, self.optimizer.peak, self.config.optimizer)
        self.checkpoint.leaving()
        self.optimizer.update(update, rate)
        with self.team.attempt():
            if self.team.leads:
                step = Step(self.name, done, self.episodes, loss, accuracy, rate)
                self.log.step(step)
                self._reached(done, validated=not self._is_validation_due(done))
                self.callbacks.step(step)

    def _is_validation_due(self, done: int) -> bool:
        config = self.config
        return is_validation_due(done, self.episodes, config.optimizer.accumulate, config.validation.validations)

    def _validate(self, done: int) -> None:
        self.team.share_broken(self.loader.store.broken)
        accuracy = self.team.lead(lambda: self._validate_finite(done))
        self.optimizer.model.train()
        state = self.validations
        state.best, state.stale = (accuracy, 0) if accuracy > state.best else (state.best, state.stale + 1)
        self._reached(done, validated=True)
        self._save()

    def _validate_finite(self, done: int) -> float:
        """The accuracy of a validation. Raises `loss-not-finite` if the loss of the model is not finite."""
        if not self.optimizer.is_finite():
            raise MaclipError(
                "loss-not-finite",
                f"After {self.name} episode {done} the loss became NaN or infinite.",
                "The last good checkpoint is kept. Train again with a lower learning rate for this stage.",
            )
        return self.validate(done)

    def _reached(self, done: int, validated: bool) -> None:
        state = self.validations
        self.checkpoint.reached(
            Progress(
                self.name, done, state.best, state.stale, validated,
                self.log.size, self.optimizer.scaler, self.loader.store.broken.paths,
            ),
            self.optimizer.optimizer,
        )  # fmt: skip

    def _save(self) -> None:
        with self.team.attempt():
            if self.team.leads:
                self.checkpoint.save()
        self._saved_at = time.monotonic()

    def _is_over(self) -> bool:
        """Whether `patience` is exhausted."""
        return 0 < self.patience <= self.validations.stale
