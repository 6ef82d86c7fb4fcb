"""What a diagnosis says: figures of clips, classes and the learning curve, and findings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from maclip_runtime.limits.intervals import Interval

SCHEMA = 1  # of `Diagnosis.facts`


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a gallery, and what to do about it.

    Attributes:
        kind: a stable code, see docs/gallery.md.
        message: what was found, in words.
        fix: what to do, in words.
        commands: command lines that do it, to be run one after another; empty where a person must decide more.
        classes: the classes that it is about.
        clips: numbers of the clips that it is about.
        figures: what it was decided on.
    """

    kind: str
    message: str
    fix: str
    commands: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    clips: tuple[int, ...] = ()
    figures: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class ClipReport:
    """How the rest of the gallery answers one clip.

    Attributes:
        id: its number.
        class_name: its class.
        source: where it came from, without credentials.
        answer: the likeliest class; None if the class has no other clip, or the gallery no other class.
        right: whether `answer` is its class; None likewise.
        margin: how far the probability of its class lies above that of the best other one, -1..1; None likewise.
        distance: to its class without it; None if the class has no other clip.
        within_limit: whether `distance` is within the class's limit; None likewise.
        nearest_other: the nearest other class; None without one.
        other_distance: its distance to that class; None likewise.
        gains: clips that are answered right only without this one (by their distances).
        losses: clips that are answered right only with it (by their distances).
    """

    id: int
    class_name: str
    source: str
    answer: str | None
    right: bool | None
    margin: float | None
    distance: float | None
    within_limit: bool | None
    nearest_other: str | None
    other_distance: float | None
    gains: tuple[int, ...] = ()
    losses: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClassReport:
    """One class.

    Attributes:
        name: the class.
        clips: how many it has; those that show the same count once.
        tested: how many of them the rest of the gallery could answer.
        right: how many of those it answered right.
        interval: 95 % interval of that share, as if clips were independent; None if none was tested.
        limit: the distance above which the answer is "unknown"; None: no limit.
        beyond_limit: how many of the clips, left out, lie beyond the limit.
    """

    name: str
    clips: int
    tested: int
    right: int
    interval: Interval | None
    limit: float | None
    beyond_limit: int


@dataclass(frozen=True)
class LearningStep:
    """What one clip more brought the classes of this gallery: clips left out, answered with `clips` and one more.

    Means over classes, each of its clips and of several choices of the clips that its class is made of; the other
    classes stay whole. The nearest class is the answer, without names.

    Attributes:
        clips: how many clips each class was made of.
        accuracy: share of clips answered right with `clips`, 0..1.
        accuracy_next: with one more.
        gain: their difference.
        gain_interval: its 95 % interval over classes; None for fewer than two classes, or if no class differs.
        margin: how far the probability of the own class lies above the nearest other one's, if there were these two
            only, -1..1.
        margin_next: with one more.
        margin_gain: their difference.
        margin_gain_interval: as `gain_interval`.
        tested: how many clips were left out.
        classes: of how many classes.
    """

    clips: int
    accuracy: float
    accuracy_next: float
    gain: float
    gain_interval: Interval | None
    margin: float
    margin_next: float
    margin_gain: float
    margin_gain_interval: Interval | None
    tested: int
    classes: int


@dataclass(frozen=True)
class Diagnosis:
    """What leave-one-out says of a gallery.

    Attributes:
        gallery: its file.
        negatives: how many negatives it has.
        classes: its classes.
        clips: their clips.
        curve: what one clip more brought, as far as it can be measured.
        findings: what is wrong, the worst first; empty: nothing.
        notes: what could not be measured, in sentences.
    """

    gallery: str
    negatives: int
    classes: tuple[ClassReport, ...]
    clips: tuple[ClipReport, ...]
    curve: tuple[LearningStep, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def tested(self) -> int:
        """How many clips the rest of the gallery could answer."""
        return sum(one.tested for one in self.classes)

    @property
    def right(self) -> int:
        """How many of those it answered right."""
        return sum(one.right for one in self.classes)

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for --json; docs/gallery.md describes the keys."""
        return {"schema": SCHEMA, "tested": self.tested, "right": self.right, **dataclasses.asdict(self)}
