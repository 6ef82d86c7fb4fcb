"""When an answer counts: every number that decides, with its unit."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from maclip_runtime.errors import MaclipError

SECONDS = ("smoothing_s", "min_duration_s", "cooldown_s")
SHARES = ("min_score", "min_margin", "enter_score", "exit_score")


@dataclass(frozen=True)
class Decisions:
    """When an answer counts. Raises `decisions-invalid` for numbers that are not possible.

    For clips and windows alike: `min_score`: probabilities below are "unknown". `max_distance`: distances above are
    "unknown"; None for the gallery's own limits. `min_margin`: less ahead of the next class is "uncertain".

    For streams: `smoothing_s`: probabilities and distances are means over the windows of so long; 0 takes each window
    by itself. `enter_score`: the mean probability at which an action may begin, "uncertain" below. `exit_score`: that
    below which it ends. `min_duration_s`: whatever holds for less is not reported. `cooldown_s`: how long after
    the end of an action the same one cannot begin again. `report_unknown`: whether stretches of "unknown" and
    "uncertain" give start and end events too.

    The defaults are those that did best on drawn streams (benchmarks/events.py): there the distance decides, and a
    threshold on the score or the margin only costs actions, so they are off.
    """

    min_score: float = 0.0  # probability, 0..1
    max_distance: float | None = None  # in the metric's own unit
    min_margin: float = 0.0  # probability, 0..1
    smoothing_s: float = 0.5  # seconds
    enter_score: float = 0.0  # probability, 0..1
    exit_score: float = 0.0  # probability, 0..1, not above enter_score
    min_duration_s: float = 0.5  # seconds
    cooldown_s: float = 0.0  # seconds
    report_unknown: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in SHARES and not 0 <= value <= 1:
                raise _invalid(f"{field.name} is a probability, 0 to 1, not {value}.")
            if field.name in SECONDS and not 0 <= value < math.inf:
                raise _invalid(f"{field.name} is a number of seconds, 0 or more, not {value}.")
        if self.max_distance is not None and math.isnan(self.max_distance):
            raise _invalid("max_distance is not a number.")
        if self.exit_score > self.enter_score:
            raise _invalid(f"exit_score {self.exit_score} is above enter_score {self.enter_score}.")


def _invalid(sentence: str) -> MaclipError:
    return MaclipError("decisions-invalid", sentence, "See the units in `maclip-run recognize --help`.")
