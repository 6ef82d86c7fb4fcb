"""Settings: the numbers that decide when an answer counts."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime import values

INVALID = "decisions-invalid"
SECONDS = ("smoothing_s", "min_duration_s", "gap_s")
SHARES = ("min_score", "min_margin")


@dataclass(frozen=True)
class Decisions:
    """When an answer counts. Raises `decisions-invalid` for numbers that are not possible.

    The defaults did best on drawn streams (benchmarks/events.py): there the distance decides, and a minimum for score
    or margin only costs actions, so those are off.

    Attributes, for clips and streams alike:
        min_score: a lower probability is "unknown".
        limit: a larger distance is "unknown"; None: the gallery's own limits.
        min_margin: a smaller lead over the next class is "uncertain".

    Attributes for streams only:
        smoothing_s: length of the mean over probabilities and distances; 0: each window by itself.
        enter_score: the mean probability at which an action may begin; below it is "uncertain".
        exit_score: the mean probability below which it ends.
        min_duration_s: an answer that holds for less is not reported.
        cooldown_s: how long after the end of an action the same one cannot begin again.
        updates_s: seconds between two "update" events of an action; 0: one at each window; None: none.
        report_unknown: whether "unknown" and "uncertain" give start and end events too.
    """

    min_score: float = 0.0  # probability, 0..1
    limit: float | None = None  # in the metric's own unit
    min_margin: float = 0.0  # probability, 0..1
    smoothing_s: float = 0.5  # seconds
    min_duration_s: float = 0.5  # seconds
    gap_s: float = 0.5  # seconds
    overlap: bool = False
    updates_s: float | None = 0.0  # seconds
    report_unknown: bool = True

    def __post_init__(self) -> None:
        plain: dict[str, object] = {
            name: values.flag(getattr(self, name), name, code=INVALID) for name in ("overlap", "report_unknown")
        }
        for name in SHARES:
            plain[name] = values.number(getattr(self, name), name, code=INVALID, minimum=0, maximum=1)
        for name in SECONDS:
            plain[name] = values.number(getattr(self, name), name, code=INVALID, minimum=0)
        if self.updates_s is not None:
            plain["updates_s"] = values.number(self.updates_s, "updates_s", code=INVALID, minimum=0)
        if self.limit is not None:
            plain["limit"] = values.number(self.limit, "limit", code=INVALID, infinite=True)
        for name, value in plain.items():
            object.__setattr__(self, name, value)
