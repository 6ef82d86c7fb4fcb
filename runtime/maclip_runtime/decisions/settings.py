"""Settings: the numbers that decide when an answer counts."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime import values

INVALID = "decisions-invalid"
SECONDS = ("min_duration_s",)
SHARES = ("min_score", "min_margin")


@dataclass(frozen=True)
class Decisions:
    """When an answer counts. Raises `decisions-invalid` for numbers that are not possible.

    The defaults were chosen on drawn streams of validation classes (benchmarks/events.py) with a run that had adapters
    in the last block; each says why. With another model other numbers may do better: docs/performance.md.

    Attributes, for clips and streams alike:
        min_score: a lower probability is "unknown".
        limit: a larger distance is "unknown"; None: the gallery's own limits.
        min_margin: a smaller lead over the next class is "uncertain".

    Attributes for streams only:
        min_duration_s: an answer that holds for less is not reported.
        gap_s: for how long an action may fail to show before it has ended; None: half a window.
        overlap: whether every class within its limit is reported, also several at once, whatever their margins; else
            the best one at a time.
        updates_s: seconds between two "update" events of an action; 0: one at each window; None: none.
        report_unknown: whether "unknown" and "uncertain" give start and end events too.
    """

    # Probabilities, 0..1. With a bundle that learned "none of these" a minimum of 0.6 to 0.8 is as good or better (with
    # the ladder of the demo 0.8 leaves a sixth of the false alarms and loses every fourteenth action), but it would
    # overrule calibrated limits and hide classes that share the probability with `overlap`, and it says nothing where
    # "none" was not learned; so it is the user's to set.
    min_score: float = 0.0
    min_margin: float = 0.0
    limit: float | None = None  # in the metric's own unit
    # Seconds. Many actions fill a window for one moment only: to wait for half a second costs every fifth action that
    # is found, though two in five false alarms go with it.
    min_duration_s: float = 0.0
    # Seconds. One window that fails is no end, and a better class may still take the time of this one; without a gap
    # F1 is 0.01 lower, with a longer one nothing changes.
    gap_s: float | None = None
    overlap: bool = False  # off: of two classes in the same seconds mostly one is right
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
        for name in ("gap_s", "updates_s"):
            if getattr(self, name) is not None:
                plain[name] = values.number(getattr(self, name), name, code=INVALID, minimum=0)
        if self.limit is not None:
            plain["limit"] = values.number(self.limit, "limit", code=INVALID, infinite=True)
        for name, value in plain.items():
            object.__setattr__(self, name, value)
