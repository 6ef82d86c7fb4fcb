"""From distances to an answer, and from a stream of answers to events.

`settings` says when an answer counts; `verdict` judges one clip or window, `classification` is the answer for a whole
clip; `match` is what people read instead of a distance; `smoothing` averages the latest windows; `events` starts and
ends an event only when an answer holds.
"""

from maclip_runtime.decisions.classification import Classification
from maclip_runtime.decisions.events import Event, Smoother
from maclip_runtime.decisions.match import match_of
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
    "Classification",
    "Decisions",
    "Event",
    "MovingMean",
    "Smoother",
    "Verdict",
    "judge",
    "match_of",
]
