"""One stage of a training, update by update: learn, log, validate where it is due, save now and then."""

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
    """How validations went: `best` accuracy of all, `stage_best` of this stage's, `stale` of them since that one."""

    best: float = -1.0
    stage_best: float = -1.0
    stale: int = 0


class Stage:
    """Trains with `optimizer` for `episodes`.

    optimizer: of this stage; it knows the model, the loader and the team.
    episodes: how many.
    validations: what the validations of the whole training came to; updated here.
    validate: given the episodes that are done, returns the accuracy (0..1).
    checkpoint: where the state is saved.
    log: where updates are written.
    callbacks: who else is told.
    save_seconds: the state is saved this often beside validations.
    patience: stale validations that end the stage, 0 for never.
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
        """From the beginning, or from `saved`; `views` gives the cached features where the stage learns from such."""
        first, team = 0, self.team
        if saved:
            first = saved.progress.episode
            saved.give_moments(self.optimizer.optimizer)
            self.optimizer.scaler = saved.progress.scaler
            if not saved.progress.validated:
                self._validate(first)
        if first >= self.episodes or self._is_over():
            return
        cached = team.together(views)
        batches = self.loader.batches(self.name, team.share(range(first, self.episodes)), cached)
        self.optimizer.model.train()
        with deferred() as is_interrupted, self._keeping_finite():
            for update in updates(first, self.episodes, self.config.optimizer.accumulate):
                loss, accuracy = self._accumulate(update, batches)
                (stop,) = team.agree([float(is_interrupted())])
                if time.monotonic() - self._saved_at > self.save_seconds:
                    self._save()  # only now: this update's finite loss shows that the weights before it are good
                self._update(update, loss, accuracy)
                if self._is_validation_due(update.stop):
                    self._validate(update.stop)
                if stop:
                    raise team.known(KeyboardInterrupt())
                if self._is_over():
                    stale, done = self.validations.stale, update.stop
                    self.callbacks.note(f"validation has not risen {stale} times: stopped after {done:,} episodes")
                    break
            # A signal that came since the last exchange must not be lost.
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
        """Gradients of this process's share of `update`; mean loss and accuracy of the whole of it."""
        loss, hits = 0.0, 0.0
        with self.team.attempt():
            for _ in self.team.share(update):
                figures = self.optimizer.accumulate(next(batches))
                loss, hits = loss + figures[0], hits + figures[1]
        loss, hits = self.team.agree([loss, hits])
        return loss / len(update), hits / len(update)

    def _update(self, update: range, loss: float, accuracy: float) -> None:
        done = update.stop
        rate = learning_rate(self.name, done, self.episodes, self.optimizer.peak, self.config.optimizer)
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
        self._share_broken()
        accuracy = self.team.lead(lambda: self._checked(done))
        self.optimizer.model.train()
        state = self.validations
        # Of this stage alone: what the prototype stage reached says nothing of whether this one still rises.
        state.stage_best, state.stale = (
            (accuracy, 0) if accuracy > state.stage_best else (state.stage_best, state.stale + 1)
        )
        self._reached(done, validated=True)
        self._save()

    def _checked(self, done: int) -> float:
        """The accuracy of a validation, of a model whose loss is finite."""
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
                self.name, done, state.best, state.stage_best, state.stale, validated,
                self.log.size, self.optimizer.scaler, self.loader.store.broken.paths,
            ),
            self.optimizer.optimizer,
        )  # fmt: skip

    def _share_broken(self) -> None:
        """All processes learn which clips each found broken, so that they are counted and reported together."""
        broken = self.loader.store.broken
        found = self.team.gather(dict(broken.errors))
        with self.team.attempt():
            broken.merge(found)
        self.team.agree()

    def _save(self) -> None:
        with self.team.attempt():
            if self.team.leads:
                self.checkpoint.save()
        self._saved_at = time.monotonic()

    def _is_over(self) -> bool:
        """Whether so many validations brought no new best that the stage ends."""
        return 0 < self.patience <= self.validations.stale
