"""The answer for a whole clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maclip_runtime.decisions.match import match_of
from maclip_runtime.decisions.settings import Decisions
from maclip_runtime.decisions.verdict import UNKNOWN, Answer, judge
from maclip_runtime.errors import MaclipError


@dataclass(frozen=True)
class Classification:
    """The answer for a whole clip.

    Attributes:
        label: a class, "unknown" or "uncertain".
        nearest: the likeliest class, also if `label` is none.
        score: its probability, 0..1.
        distance: its distance, in the metric's own unit.
        margin: how far the next class's probability lies below `score`.
        limit: the distance above which the answer is "unknown"; None: no limit.
        match: how well `distance` fits the class, 0..1; 0.5 is at the limit (see `match_of`).
        probabilities: of each class.
        distances: to each class.
        matches: how well each distance fits, with the class's own limit.
        source: the clip, without credentials.
        duration_s: how long the clip lasts, in seconds.
    """

    label: str
    nearest: str
    score: float
    distance: float
    margin: float
    limit: float | None
    match: float
    probabilities: dict[str, float]
    distances: dict[str, float]
    matches: dict[str, float]
    source: str
    duration_s: float

    @property
    def unknown(self) -> bool:
        """Whether no enrolled class fits."""
        return self.label == UNKNOWN

    @classmethod
    def of(cls, answer: Answer, decisions: Decisions, *, source: str, duration_s: float) -> Classification:
        """Decide on what was measured of a clip, of one class or more. Raises `features-invalid` if nothing was."""
        if answer.missing:
            raise MaclipError(
                "features-invalid",
                f"{source} cannot be answered: nothing was measured ({answer.missing}).",
                "Try --device cpu; if that does not help, export the bundle again in float32.",
            )
        verdict = judge(answer.distances, answer.probabilities, answer.names, answer.limits, decisions)
        limits = answer.limits.tolist()
        limit = limits[answer.names.index(verdict.nearest)]
        return cls(
            verdict.label,
            verdict.nearest,
            verdict.score,
            verdict.distance,
            verdict.margin,
            None if np.isinf(limit) else limit,
            verdict.match,
            dict(zip(answer.names, answer.probabilities.tolist(), strict=True)),
            dict(zip(answer.names, answer.distances.tolist(), strict=True)),
            dict(zip(answer.names, map(match_of, answer.distances.tolist(), limits), strict=True)),
            source,
            duration_s,
        )
