"""What one clip or window was measured to be, and the answer that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maclip_runtime.decisions.settings import Decisions
from maclip_runtime.reading.frames import Floats

UNKNOWN = "unknown"
UNCERTAIN = "uncertain"
# Why an answer is no class.
DISTANCE, SCORE, MARGIN, STILL, EMPTY, INVALID = "distance", "score", "margin", "still", "empty", "invalid"


@dataclass(frozen=True)
class Answer:
    """What was measured of one window, by class, before anything is decided: float32 [C] in the order of `names`.

    `limits`: the distance above which each class's answer is "unknown", inf for never. C is 0 where the gallery is
    empty, and where nothing was measured because the picture is `still` or the features were `invalid` (not finite).
    """

    names: tuple[str, ...]
    distances: Floats
    probabilities: Floats
    limits: Floats
    still: bool = False
    invalid: bool = False

    @classmethod
    def nothing(cls, still: bool = False, invalid: bool = False) -> Answer:
        """Nothing was measured: the gallery is empty, the picture is `still`, or its features are `invalid`."""
        none = np.zeros(0, np.float32)
        return cls((), none, none, none, still, invalid)

    @property
    def missing(self) -> str:
        """Why nothing was measured: "still", "invalid" or "empty"; "" where something was."""
        if self.names:
            return ""
        return STILL if self.still else INVALID if self.invalid else EMPTY


@dataclass(frozen=True)
class Verdict:
    """The answer for one clip or window.

    `label` is a class, "unknown" or "uncertain"; `nearest` the likeliest class either way, with its probability
    `score`, its `distance`, and `margin`, how far the next class's probability lies below (the score itself, alone).
    `reason`: why `label` is no class: its "distance" or "score" or "margin", or that the picture is "still", its
    features "invalid" or the gallery "empty"; "" for a class.
    """

    label: str
    nearest: str
    score: float
    distance: float
    margin: float
    reason: str = ""

    @property
    def unknown(self) -> bool:
        """Whether no enrolled class fits."""
        return self.label == UNKNOWN


def nothing_seen(reason: str) -> Verdict:
    """The answer where nothing was measured: "unknown" for `reason`."""
    return Verdict(UNKNOWN, UNKNOWN, 0.0, float("inf"), 0.0, reason)


def judge(
    distances: Floats, probabilities: Floats, names: Sequence[str], limits: Floats, decisions: Decisions
) -> Verdict:
    """The answer for one query: distances and probabilities float32 [C] in the order of `names`, C >= 1.

    `limits` float32 [C]: the distance above which each class's answer is "unknown", inf for never.
    """
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
    return Verdict(label, names[best], score, distance, margin, reason)
