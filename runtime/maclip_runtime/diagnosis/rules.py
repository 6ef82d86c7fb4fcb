"""Which clips are out of place, which classes are confused: rules on the evidence, without words.

`python -m benchmarks.doctor` measures how many wrong and right clips are named; `MISPLACED_ODDS` was chosen on its
validation set: higher odds name fewer of both, in about the same proportion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maclip_runtime.diagnosis.evidence import NOBODY, Evidence
from maclip_runtime.diagnosis.samples import Samples

MISPLACED_ODDS = np.log(30.0)  # another class must be thirty times as likely
MIN_FELLOWS = 2  # clips of the class besides the one that is judged: of two clips either may be the wrong one
MIN_HARMED = 2  # clips that come out wrong because of one
CONFUSED_CLIPS, CONFUSED_SHARE = 2, 0.25  # of the clips of both classes
RELIABLE_SHARE = 0.5  # of the clips answered right: below it a wrong answer says more about the model than the clip
TYPICAL_CLIPS = 3  # clips of a class from which a typical distance is taken


@dataclass(frozen=True)
class Confusion:
    """Two classes whose clips are answered as the other one's.

    Attributes:
        classes: their columns, the lower one first.
        mistaken: places of their clips that are answered as the other class.
        clips: how many clips of both were tested.
    """

    classes: tuple[int, int]
    mistaken: tuple[int, ...]
    clips: int


@dataclass(frozen=True)
class Verdicts:
    """What the rules say of the N clips, as their places; no clip is named twice.

    Attributes:
        crossing: pairs of clips that show the same and are in two classes.
        twins: pairs that show the same and are in one class, or are negatives both.
        contradicted: pairs of a clip of a class and a negative that show the same.
        misplaced: clips that look like another class, and whose class is better without them.
        harmful: other clips because of which several clips come out wrong.
        confusions: pairs of classes.
        missed: other clips that are answered wrong.
        reliable: whether most clips come out right, two classes that are taken for each other counting as one; if not,
            no single clip is misplaced or harmful.
    """

    crossing: list[tuple[int, int]]
    twins: list[tuple[int, int]]
    contradicted: list[tuple[int, int]]
    misplaced: list[int]
    harmful: list[int]
    confusions: list[Confusion]
    missed: list[int]
    reliable: bool


def judge_clips(samples: Samples, evidence: Evidence, fellows: list[int]) -> Verdicts:
    """Apply the rules; `fellows`: how many other clips each clip's class was made of."""
    count, owner = len(samples.clips), samples.owner
    crossing, twins, contradicted = [], [], []
    for one, other in samples.pairs:
        if one < count <= other:
            contradicted.append((one, other))
        elif other < count and owner[one] != owner[other]:
            crossing.append((one, other))
        else:
            twins.append((one, other))
    named = {place for pair in crossing for place in pair}
    wrong = {int(place) for place in np.flatnonzero(evidence.tested & (evidence.answer != owner))} - named
    misplaced = [
        place
        for place in sorted(wrong)
        if fellows[place] >= MIN_FELLOWS
        and evidence.odds[place] >= MISPLACED_ODDS
        and evidence.outlying[place]
        and evidence.nearer[place] > 0
    ]
    # What a misplaced clip explains is no confusion of classes.
    explained = {place for one in misplaced for place in (one, *evidence.gains[one])}
    confusions = _confusions(samples, evidence, wrong - explained, named)
    pairs = {confusion.classes for confusion in confusions}
    misplaced = [place for place in misplaced if _both(int(owner[place]), int(evidence.answer[place])) not in pairs]
    mistaken = {place for confusion in confusions for place in confusion.mistaken}
    tested = int(evidence.tested.sum())
    reliable = len(wrong - _excused(samples, evidence, confusions)) <= (1 - RELIABLE_SHARE) * tested
    misplaced = misplaced if reliable else []
    named |= set(misplaced)
    harmful = [
        place
        for place in range(count)
        if place not in named and len(set(evidence.gains[place]) - mistaken) - len(evidence.losses[place]) >= MIN_HARMED
    ]
    missed = sorted(wrong - named - mistaken)
    return Verdicts(crossing, twins, contradicted, misplaced, harmful, confusions, missed, reliable)


def fits_class(evidence: Evidence, samples: Samples, column: int, distance: float) -> bool:
    """Whether a distance to a class is that of a typical clip of it: no farther than half of its own clips."""
    own = evidence.own[(samples.owner == column) & ~np.isnan(evidence.own)]
    return len(own) >= TYPICAL_CLIPS and distance <= float(np.median(own))


def _confusions(samples: Samples, evidence: Evidence, wrong: set[int], named: set[int]) -> list[Confusion]:
    owner, tested = samples.owner, evidence.tested.copy()
    tested[sorted(named)] = False
    mistaken: dict[tuple[int, int], list[int]] = {}
    for place in sorted(wrong):
        mistaken.setdefault(_both(int(owner[place]), int(evidence.answer[place])), []).append(place)
    alone: dict[tuple[int, int], int] = {}
    for place in np.flatnonzero(np.isnan(evidence.own) & (evidence.rival != NOBODY)).tolist():
        if place in named:
            continue
        other = int(evidence.rival[place])
        if fits_class(evidence, samples, other, float(evidence.rival_distance[place])):
            pair = _both(int(owner[place]), other)
            mistaken.setdefault(pair, []).append(place)
            alone[pair] = alone.get(pair, 0) + 1
    sizes = np.bincount(owner[tested], minlength=int(owner.max(initial=0)) + 1)
    found = []
    for pair, places in mistaken.items():
        clips = int(sizes[list(pair)].sum()) + alone.get(pair, 0)
        if len(places) >= CONFUSED_CLIPS and len(places) >= CONFUSED_SHARE * clips:
            found.append(Confusion(pair, tuple(places), clips))
    return sorted(found, key=lambda one: (-len(one.mistaken) / one.clips, one.classes))


def _excused(samples: Samples, evidence: Evidence, confusions: list[Confusion]) -> set[int]:
    """Wrong clips of pairs of classes that are taken for each other, as one action under two names; each class once."""
    found: set[int] = set()
    seen: set[int] = set()
    for confusion in confusions:
        tested = [place for place in confusion.mistaken if evidence.tested[place]]
        if len({int(samples.owner[place]) for place in tested}) == 2 and not seen & set(confusion.classes):
            seen |= set(confusion.classes)
            found |= set(tested)
    return found


def _both(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
