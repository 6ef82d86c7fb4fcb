"""What was measured of one clip or window, and the verdict on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maclip_runtime.decisions.match import match_of
from maclip_runtime.decisions.settings import Decisions
from maclip_runtime.reading.frames import Floats

UNKNOWN = "unknown"
UNCERTAIN = "uncertain"
# Why an answer is no class.
DISTANCE, SCORE, MARGIN, STILL, EMPTY, INVALID = "distance", "score", "margin", "still", "empty", "invalid"


@dataclass(frozen=True)
class Answer:
    """What was measured of one clip or window, before anything is decided.

    C is 0 if the gallery is empty, and if nothing was measured.

    Attributes:
        names: the C classes.
        distances: float32 [C].
        probabilities: float32 [C].
        limits: float32 [C], the distance above which each class's answer is "unknown"; inf: never.
        still: nothing was measured because nothing moves in the picture.
        invalid: nothing was measured because the features are not finite.
    """

    names: tuple[str, ...]
    distances: Floats
    probabilities: Floats
    limits: Floats
    still: bool = False
    invalid: bool = False

    @classmethod
    def nothing(cls, still: bool = False, invalid: bool = False) -> Answer:
        """An answer of no class: the gallery is empty, the picture is `still`, or its features are `invalid`."""
        none = np.zeros(0, np.float32)
        return cls((), none, none, none, still, invalid)

    @property
    def missing(self) -> str:
        """Why nothing was measured: "still", "invalid" or "empty"; "" if something was."""
        if self.names:
            return ""
        return STILL if self.still else INVALID if self.invalid else EMPTY


@dataclass(frozen=True)
class Verdict:
    """The answer for one clip or window.

    Attributes:
        label: a class, "unknown" or "uncertain".
        nearest: the likeliest class, also if `label` is none.
        score: its probability, 0..1.
        distance: its distance, in the metric's own unit.
        margin: how far the next class's probability lies below `score`; `score` itself if there is no other class.
        reason: why `label` is no class: "distance", "score", "margin", "still", "invalid" or "empty"; "" for a class.
        match: how well `distance` fits, 0..1; 0.5 is at the limit (see `match_of`). 0 if nothing was measured.
    """

    label: str
    nearest: str
    score: float
    distance: float
    margin: float
    reason: str = ""
    match: float = 0.0

    @property
    def unknown(self) -> bool:
        """Whether no enrolled class fits."""
        return self.label == UNKNOWN


def nothing_seen(reason: str) -> Verdict:
    """The verdict if nothing was measured: "unknown" for `reason`."""
    return Verdict(UNKNOWN, UNKNOWN, 0.0, float("inf"), 0.0, reason)


def judge(
    distances: Floats, probabilities: Floats, names: Sequence[str], limits: Floats, decisions: Decisions
) -> Verdict:
    """The verdict on one query against C >= 1 classes; see `Answer` for the arrays."""
    order = np.argsort(-probabilities, kind="stable")
    best = int(order[0])
    score, distance = float(probabilities[best]), float(distances[best])
    margin = score - (float(probabilities[order[1]]) if len(order) > 1 else 0.0)
    label, reason = names[best], ""
    if not distance <= limits[best]:
        label, reason = UNKNOWN, DISTANCE
    elif score < decisions.min_score:
        label, reason = UNKNOWN, SCORE
    elif margin < decisions.min_margin:
        label, reason = UNCERTAIN, MARGIN
    match = match_of(distance, float(limits[best]))
    return Verdict(label, names[best], score, distance, margin, reason, match)
