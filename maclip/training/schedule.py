"""The updates of a stage, when its validations are due, and the learning rate of each update."""

from __future__ import annotations

import math
from collections.abc import Iterator

from maclip.config import OptimizerConfig


def updates(first: int, episodes: int, accumulate: int) -> Iterator[range]:
    """The episodes of each update from episode `first` on; the last update may have fewer than `accumulate`."""
    for start in range(first, episodes, accumulate):
        yield range(start, min(start + accumulate, episodes))


def is_validation_due(done: int, episodes: int, accumulate: int, validations: int) -> bool:
    """Whether a validation is due after `done` of `episodes`: `validations` times in all, the last at the end."""
    every = max(accumulate, math.ceil(episodes / validations))
    return done == episodes or done // every != (done - accumulate) // every


def learning_rate(stage: str, update: range, episodes: int, peak: float, config: OptimizerConfig) -> float:
    """The learning rate of `update`, its episodes: linear warm-up to `peak`, then cosine towards zero.

    It is the schedule's value in the middle of the update, so that the first and the last update learn, even if they
    are the only one. With schedule "constant" the joint stage, but not the prototype stage, stays at `peak`.
    """
    share, warmup = (update.start + update.stop) / (2 * episodes), config.warmup
    if share < warmup:
        return peak * (share / warmup)
    if stage == "joint" and config.schedule == "constant":
        return peak
    return peak * (0.5 * (1 + math.cos(math.pi * (share - warmup) / max(1e-9, 1 - warmup))))
