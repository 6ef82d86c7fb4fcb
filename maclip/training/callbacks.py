"""Callbacks of a training: progress bars, a log, a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One update of the weights.

    stage: "prototype" or "joint".
    episode, episodes: finished episodes of the stage, and all its episodes.
    loss, accuracy: means over the episodes of the update; accuracy 0..1.
    learning_rate: of this update.
    """

    stage: str
    episode: int
    episodes: int
    loss: float
    accuracy: float
    learning_rate: float


class Callbacks:
    """Base of callbacks: override what you need. They are called in the thread of the training."""

    def note(self, text: str) -> None:
        """A message for the user, one or more lines."""

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A part of the work named `what` starts; returns a callback for (done, total)."""
        return lambda done, total: None

    def step(self, step: Step) -> None:
        """The weights were updated."""

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """A validation is done: accuracy 0..1, and the half-width of its 95 % interval."""
