"""Callbacks of a training: progress bars, a log, a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One update of the weights.

    stage: "prototype" or "joint".
    episode: episodes of the stage that are done, of `episodes`.
    loss, accuracy: means over the update's episodes; accuracy of p, 0..1.
    learning_rate: of this update.
    """

    stage: str
    episode: int
    episodes: int
    loss: float
    accuracy: float
    learning_rate: float


class Callbacks:
    """Override what is of interest; each method does nothing. They run in the training's own thread."""

    def note(self, text: str) -> None:
        """A message for a person, one line or more."""

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A part of the work of known size begins; the result is called with (done, total)."""
        return lambda done, total: None

    def step(self, step: Step) -> None:
        """An update was made."""

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Validation classes were tried: accuracy 0..1 and the half-width of its 95 % interval."""
