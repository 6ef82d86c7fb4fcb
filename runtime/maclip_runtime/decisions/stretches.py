"""A stretch of windows with one label, and where in time what they show began and ended."""

from __future__ import annotations

import math
import secrets

from maclip_runtime.decisions.verdict import EMPTY, INVALID, STILL, Verdict


class Stretch:
    """Windows in which one label holds, perhaps with short gaps.

    `start_s` and `end_s` are the boundaries of the action, not of the windows: see `Decider`.
    """

    def __init__(self, verdict: Verdict, start_s: float, end_s: float, zero_at: float | None) -> None:
        self.id = secrets.token_hex(8)
        self.key = key_of(verdict)
        self.label = verdict.label
        self.reason = verdict.reason
        self.start_s = start_s
        self.end_s = end_s
        self.reported = False
        self.told_s = end_s  # `end_s` of the last event about it
        self.seen_s = -math.inf  # end of its latest window's part of the stream
        self.held_s = 0.0  # seconds of the stream that its windows stand for
        self.peak = 0.0
        self.windows = 0
        self.last = (0.0, 0.0, 0.0)
        self._sums = (0.0, 0.0, 0.0)
        self._zero_at = self._first_zero_at = zero_at

    def extend(self, verdict: Verdict, end_s: float, part: tuple[float, float], zero_at: float | None) -> None:
        """Take another window with this label, which stands for `part` of the stream."""
        self.windows += 1
        self.end_s = max(self.end_s, end_s)
        self.seen_s = part[1]
        self.held_s += part[1] - part[0]
        self.peak = max(self.peak, verdict.match)
        self._zero_at = zero_at
        self.last = (verdict.score, verdict.margin, verdict.match)
        score, margin, match = self._sums
        self._sums = (score + verdict.score, margin + verdict.margin, match + verdict.match)

    def covered_by(self, other: Stretch) -> float:
        """The share of its seconds that `other` takes too, 0..1."""
        return self._share(other.start_s, other.end_s)

    def share_until(self, time_s: float) -> float:
        """The share of its seconds that lies before `time_s`, 0..1."""
        return self._share(-math.inf, time_s)

    def _share(self, start_s: float, end_s: float) -> float:
        both_s = min(self.end_s, end_s) - max(self.start_s, start_s)
        return max(0.0, both_s) / max(self.end_s - self.start_s, 1e-9)

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean score, margin and match of its windows."""
        score, margin, match = self._sums
        return score / self.windows, margin / self.windows, match / self.windows

    @property
    def started_at(self) -> float | None:
        """`start_s` as Unix time; None for files."""
        return None if self._first_zero_at is None else self._first_zero_at + self.start_s

    @property
    def ended_at(self) -> float | None:
        """`end_s` as Unix time; never before `started_at`, also if the machine's clock was set back in between."""
        started_at = self.started_at
        if self._zero_at is None or started_at is None:
            return None
        return max(started_at, self._zero_at + self.end_s)


def key_of(verdict: Verdict) -> tuple[str, str]:
    """Windows with the same key make a stretch: the label, and for "unknown" whether anything was measured."""
    return verdict.label, verdict.reason if verdict.reason in (STILL, INVALID, EMPTY) else ""
