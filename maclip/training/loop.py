"""One stage of a training, update by update: learn, write down, validate where it is due, save now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from maclip.training.checkpoint import Begun, Checkpoint, Saved
from maclip.training.episode_loader import Drawn, Views
from maclip.training.reporting import Journal, Step, Watcher
from maclip.training.schedule import is_validation_due, learning_rate, updates
from maclip.training.step import Learner
from maclip_runtime.errors import MaclipError
from maclip_runtime.interrupts import deferred

NOT_FINITE = ("loss-not-finite", "answers-not-finite")


@dataclass
class Standing:
    """What validations came to: `best` of all, `stage_best` of this stage's, `stale` of them since that one."""

    best: float = -1.0
    stage_best: float = -1.0
    stale: int = 0


class Stage:
    """Trains `learner` for `episodes`; `validate`, given how many are done, returns the accuracy (0..1).

    `patience` stale validations end it, 0 never does. A state is saved every `save_seconds` beside validations.
    """

    def __init__(
        self,
        learner: Learner,
        episodes: int,
        standing: Standing,
        validate: Callable[[int], float],
        checkpoint: Checkpoint,
        journal: Journal,
        watcher: Watcher,
        save_seconds: float,
        patience: int = 0,
    ) -> None:
        self.learner, self.episodes, self.standing, self.validate = learner, episodes, standing, validate
        self.checkpoint, self.journal, self.watcher = checkpoint, journal, watcher
        self.save_seconds, self.patience = save_seconds, patience
        self.name, self.team, self.config = learner.stage, learner.team, learner.feed.config
        self._saved_at = time.monotonic()

    def run(self, saved: Saved | None, views: Callable[[], Views | None]) -> None:
        """From the beginning, or from `saved`; `views` gives the cached features where the stage learns from such."""
        first, team = 0, self.team
        if saved:
            first = saved.begun.episode
            saved.give_moments(self.learner.optimizer)
            self.learner.scaler = saved.begun.scaler
            if not saved.begun.validated:
                self._validate(first)
        if first >= self.episodes or self._is_over():
            return
        cached = team.together(views)
        drawn = self.learner.feed.stream(self.name, team.share(range(first, self.episodes)), load=cached is None)
        self.learner.model.train()
        with deferred() as is_interrupted, self._sound():
            for update in updates(first, self.episodes, self.config.accumulate):
                loss, accuracy = self._learn(update, drawn, cached)
                (stop,) = team.agree([float(is_interrupted())])
                if time.monotonic() - self._saved_at > self.save_seconds:
                    self._save()  # not before the update that led here has shown a loss that is a number
                self._update(update, loss, accuracy)
                if is_validation_due(update.stop, self.episodes, self.config):
                    self._validate(update.stop)
                if stop:
                    raise team.known(KeyboardInterrupt())
                if self._is_over():
                    stale, done = self.standing.stale, update.stop
                    self.watcher.note(f"validation has not risen {stale} times: stopped after {done:,} episodes")
                    break
            # A signal that came since the last exchange must not be lost.
            (stop,) = team.agree([float(is_interrupted())])
            if stop:
                raise team.known(KeyboardInterrupt())

    @contextmanager
    def _sound(self) -> Iterator[None]:
        """Where no number comes out, a state that is to blame must not take the place of the last good one."""
        try:
            yield
        except MaclipError as error:
            if error.code in NOT_FINITE and self.team.leads and not self.learner.is_sound():
                self.checkpoint.leaving()
            raise

    def _learn(self, update: range, drawn: Iterator[Drawn], views: Views | None) -> tuple[float, float]:
        """Gradients of this process's share of `update`; mean loss and accuracy of the whole of it."""
        loss, hits = 0.0, 0.0
        with self.team.attempt():
            for _ in self.team.share(update):
                figures = self.learner.learn(next(drawn), views)
                loss, hits = loss + figures[0], hits + figures[1]
        loss, hits = self.team.agree([loss, hits])
        return loss / len(update), hits / len(update)

    def _update(self, update: range, loss: float, accuracy: float) -> None:
        done = update.stop
        rate = learning_rate(self.name, done, self.episodes, self.learner.peak, self.config)
        self.checkpoint.leaving()
        self.learner.update(update, rate)
        with self.team.attempt():
            if self.team.leads:
                step = Step(self.name, done, self.episodes, loss, accuracy, rate)
                self.journal.step(step)
                self._reached(done, validated=not is_validation_due(done, self.episodes, self.config))
                self.watcher.step(step)

    def _validate(self, done: int) -> None:
        self._tell_broken()
        accuracy = self.team.lead(lambda: self._checked(done))
        self.learner.model.train()
        standing = self.standing
        # Of this stage alone: what TPCM reached before says nothing of whether this still rises.
        standing.stage_best, standing.stale = (
            (accuracy, 0) if accuracy > standing.stage_best else (standing.stage_best, standing.stale + 1)
        )
        self._reached(done, validated=True)
        self._save()

    def _checked(self, done: int) -> float:
        """The accuracy of a validation, before which it is made sure that there is something to keep."""
        if not self.learner.is_sound():
            raise MaclipError(
                "loss-not-finite",
                f"After {self.name} episode {done} the loss is no number any more: the step was too long.",
                "The last good state is kept. Train anew with a lower learning rate for that part.",
            )
        return self.validate(done)

    def _reached(self, done: int, validated: bool) -> None:
        standing = self.standing
        self.checkpoint.reached(
            Begun(
                self.name, done, standing.best, standing.stage_best, standing.stale, validated,
                self.journal.size, self.learner.scaler, self.learner.feed.store.broken.paths,
            ),
            self.learner.optimizer,
        )  # fmt: skip

    def _tell_broken(self) -> None:
        """What each process found broken all know: it is reported as a whole, and too many are too many together."""
        broken = self.learner.feed.store.broken
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
        return 0 < self.patience <= self.standing.stale
