"""From distances to an answer, and from a stream of answers to events.

`answers` judges one clip or window; `thresholds` finds on a gallery where "unknown" begins; `smoothing` takes the mean
of what was measured lately; `events` starts and ends an event only when an answer holds.
"""

from maclip_runtime.decisions.answers import (
    DISTANCE,
    EMPTY,
    INVALID,
    MARGIN,
    SCORE,
    STILL,
    UNCERTAIN,
    UNKNOWN,
    Answer,
    Verdict,
    judge,
)
from maclip_runtime.decisions.events import Event, Smoother
from maclip_runtime.decisions.settings import Decisions
from maclip_runtime.decisions.smoothing import MovingMean
from maclip_runtime.decisions.thresholds import unknown_distance

__all__ = [
    "DISTANCE",
    "EMPTY",
    "INVALID",
    "MARGIN",
    "SCORE",
    "STILL",
    "UNCERTAIN",
    "UNKNOWN",
    "Answer",
    "Decisions",
    "Event",
    "MovingMean",
    "Smoother",
    "Verdict",
    "judge",
    "unknown_distance",
]
