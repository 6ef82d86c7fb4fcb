"""From distances to an answer, and from a stream of answers to events.

`settings` says when an answer counts; `verdict` judges one clip or window, `classification` is the answer for a whole
clip; `match` is what people read instead of a distance; `stretches` are windows in which one answer holds, and `events`
makes one event of each class that rises and falls.
"""

from maclip_runtime.decisions.classification import Classification
from maclip_runtime.decisions.events import Decider, Event
from maclip_runtime.decisions.match import match_of
from maclip_runtime.decisions.settings import Decisions
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
    "Decider",
    "Decisions",
    "Event",
    "Verdict",
    "judge",
    "match_of",
]
