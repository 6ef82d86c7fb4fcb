"""The two families of classes, and how they are split into training, validation and test.

*motion*: the class is the motion alone, whatever moves (like Something-Something). Training adds composed motions to
the simple ones (`maclip.world.compositions`), whatever the split. *object-motion*: the class is an
object with a motion (like Kinetics); some classes share the object, others the motion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from maclip.world.actors import Cast
from maclip.world.compositions import COMPOSITIONS
from maclip.world.phrases import MOTION_PHRASES
from maclip_runtime.errors import MaclipError

Family = Literal["motion", "object-motion"]
Split = Literal["train", "val", "test"]
FAMILIES: tuple[Family, ...] = ("motion", "object-motion")
SPLITS: tuple[Split, ...] = ("train", "val", "test")

# Training has related motions (vertical instead of horizontal, combined with others) but none of these. Each comes with
# its reverse, so a model that ignores the order of frames confuses the two.
TEST_MOTIONS = (
    *("right", "left"),
    *("grow", "shrink"),
    *("clockwise", "counterclockwise"),
    *("right-then-down", "down-then-right"),
    *("approach", "part"),
    *("cover", "uncover"),
)
VALIDATION_MOTIONS = (
    *("up-right", "down-left"),
    *("left-then-up", "up-then-left"),
    *("appear", "vanish"),
    *("split", "merge"),
)
# Mirrored left to right, a clip of one of these shows another class.
ONE_SIDED = (
    *("right", "left", "up-right", "up-left", "down-right", "down-left", "right-back", "left-back"),
    *("right-then-up", "right-then-down", "left-then-up", "left-then-down"),
    *("up-then-right", "up-then-left", "down-then-right", "down-then-left"),
    *("clockwise", "counterclockwise", "spin-clockwise", "spin-counterclockwise", "together-across"),
)
OBJECTS = (
    ("red", "star"),
    ("blue", "circle"),
    ("yellow", "cross"),
    ("green", "heart"),
    ("purple", "square"),
    ("orange", "moon"),
    ("white", "triangle"),
    ("cyan", "ring"),
)
OBJECT_MOTIONS = (
    *("right", "up", "clockwise", "grow", "left", "shake", "down", "shrink", "bounce", "counterclockwise"),
)


@dataclass(frozen=True)
class ActionClass:
    """One class: its folder's name, its phrase, its split, and what to draw.

    `mirror`: whether a clip mirrored left to right still shows the class. `seed` belongs to the class and does not
    depend on the split.
    """

    slug: str
    name: str
    split: Split
    mirror: bool
    motion: str
    cast: Cast
    seed: int


def slug(name: str) -> str:
    """A folder name for a phrase: "moving a shape up" -> "moving-a-shape-up"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _reshuffle(splits: list[Split], split_seed: int | None) -> list[Split]:
    if split_seed is None:
        return splits
    order = np.random.default_rng(split_seed).permutation(len(splits))
    return [splits[int(index)] for index in order]


def _motion_classes(split_seed: int | None, composed: bool) -> list[ActionClass]:
    splits: list[Split] = [
        "test" if key in TEST_MOTIONS else "val" if key in VALIDATION_MOTIONS else "train" for key in MOTION_PHRASES
    ]
    simple = [
        ActionClass(slug(name), name, split, key not in ONE_SIDED, key, Cast(), seed)
        for seed, (split, (key, phrase)) in enumerate(
            zip(_reshuffle(splits, split_seed), MOTION_PHRASES.items(), strict=True)
        )
        for name in [phrase.format(shape="a shape")]
    ]
    return simple + [
        ActionClass(slug(name), name, "train", not one.one_sided, key, Cast(), seed)
        for seed, (key, one) in enumerate(COMPOSITIONS.items() if composed else (), start=len(simple))
        for name in [one.phrase.format(shape="a shape")]
    ]


def _object_classes(split_seed: int | None) -> list[ActionClass]:
    # Object o is combined with motions o, o + 1, ... (mod 10), so neighbouring objects share motions. The first steps
    # are held out; the steps 3, 5, 7 and 9 are for training.
    pairs: list[tuple[int, int, Split]] = []
    for index in range(len(OBJECTS)):
        held_out: Split = "test" if index < 4 else "val"
        for step in range(3 if held_out == "test" else 2):
            pairs.append((index, (index + step) % len(OBJECT_MOTIONS), held_out))
        for step in (3, 5, 7, 9):
            pairs.append((index, (index + step) % len(OBJECT_MOTIONS), "train"))
    splits = _reshuffle([split for _, _, split in pairs], split_seed)
    classes = []
    for (index, step, _), split in zip(pairs, splits, strict=True):
        colour, kind = OBJECTS[index]
        key = OBJECT_MOTIONS[step]
        article = "an" if colour == "orange" else "a"
        name = MOTION_PHRASES[key].format(shape=f"{article} {colour} {kind}")
        seed = index * len(OBJECT_MOTIONS) + step
        classes.append(ActionClass(slug(name), name, split, key not in ONE_SIDED, key, Cast(colour, kind), seed))
    return classes


def classes(family: Family, split_seed: int | None = None, *, composed: bool = True) -> list[ActionClass]:
    """All classes of `family` in a fixed order.

    split_seed: reshuffles the splits of the simple motions, or of the objects, and keeps their sizes.
    composed: whether the motions for training include compositions; default True.
    """
    return _motion_classes(split_seed, composed) if family == "motion" else _object_classes(split_seed)


def find_class(family: Family, name: str) -> ActionClass:
    """The class with this name or slug. Raises `class-unknown`."""
    for one in classes(family):
        if name in (one.name, one.slug):
            return one
    raise MaclipError(
        "class-unknown", f'The family "{family}" has no class "{name}".', "See classes.json for the names."
    )
