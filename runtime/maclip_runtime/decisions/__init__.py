"""From distances to an answer, and from a stream of answers to events.

`verdict` judges one clip or window; `smoothing` takes the mean of what was measured lately; `events` starts and ends
an event only when an answer holds.
"""

from maclip_runtime.decisions.events import Event, Smoother
from maclip_runtime.decisions.settings import Decisions
from maclip_runtime.decisions.smoothing import MovingMean
from maclip_runtime.decisions.verdict import (
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
]
