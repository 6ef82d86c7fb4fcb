"""A drawn world of a few classes, for tests of commands that draw all of it."""

from __future__ import annotations

import pytest

from maclip.world import streams, synth
from maclip.world.classes import SPLITS, ActionClass, Family
from maclip.world.classes import classes as all_classes

CLASSES = 6  # of each split


def few_classes(family: Family, split_seed: int | None = None, *, composed: bool = True) -> list[ActionClass]:
    """The first classes of each split, without composed ones and those that are true of every picture."""
    every = [c for c in all_classes(family, split_seed, composed=False) if c.motion not in streams.TRUE_OF_ALL]
    return [c for split in SPLITS for c in [c for c in every if c.split == split][:CLASSES]]


def draw_few(patch: pytest.MonkeyPatch) -> None:
    """Let the world have these classes alone."""
    patch.setattr(synth, "classes", few_classes)
    patch.setattr(streams, "classes", few_classes)
