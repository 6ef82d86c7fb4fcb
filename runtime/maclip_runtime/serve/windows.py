"""Windows that a person may look at again: those without a sure answer, and one for each event."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime.decisions import EMPTY, INVALID, STILL, UNCERTAIN, Answer, Decisions, Verdict, judge
from maclip_runtime.reading.frames import Floats
from maclip_runtime.serve.film import Picture
from maclip_runtime.sources import Roi

MAX_WINDOWS = 300  # of each kind
MAX_BYTES = 64 << 20  # of the pictures of each kind; a window of 2 s takes 0.3 to 1.2 MB
NEAR = 0.15  # match from 0.5 within which an answer is near its limit
OPEN, ASSIGNED, NEGATIVE, SKIPPED = "open", "assigned", "negative", "skipped"
SETTLED, DONE = "settled", "done"


@dataclass
class Seen:
    """A window that was answered.

    id: its number.
    source: where it was seen.
    at: Unix time of its end.
    start_s, end_s: in the source's time.
    features: float32 [T, D'].
    pictures: its frames.
    region: the part of them that was looked at; None for all.
    verdict: the first answer.
    kind: why it is kept: "unknown", "uncertain", "near" or "event".
    state: "open", "assigned", "negative" or "skipped".
    name: the class that it was assigned to.
    now: the answer by the gallery as it is now.
    """

    id: int
    source: str
    at: float
    start_s: float
    end_s: float
    features: Floats
    pictures: list[Picture]
    region: Roi | None
    verdict: Verdict
    kind: str
    state: str = OPEN
    name: str = ""
    now: Verdict | None = None
    clips: tuple[int, ...] = field(default=())  # that it was enrolled as

    @property
    def answer(self) -> Verdict:
        """The present answer."""
        return self.now or self.verdict

    @property
    def standing(self) -> str:
        """ "open" while somebody should look at it, "settled" once its answer is sure without that, else "done"."""
        if self.state != OPEN:
            return DONE
        return OPEN if kind_of(self.answer) is not None else SETTLED


def kind_of(verdict: Verdict) -> str | None:
    """Why a window should be looked at; None where its answer is sure, or nothing was measured."""
    if verdict.reason in (STILL, INVALID):
        return None
    if verdict.label == UNCERTAIN:
        return "uncertain"
    if verdict.reason:
        return "near" if abs(verdict.match - 0.5) <= NEAR and verdict.reason != EMPTY else "unknown"
    return "near" if abs(verdict.match - 0.5) <= NEAR else None


class Windows:
    """The last windows of each kind. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._hard: OrderedDict[int, Seen] = OrderedDict()
        self._events: OrderedDict[int, Seen] = OrderedDict()
        self._of_event: OrderedDict[str, int] = OrderedDict()
        self._numbers = 0
        self._last_end: dict[str, float] = {}
        self._version: tuple[int, int] | None = None

    def add(
        self, make: Callable[[int, str], Seen], source: str, kind: str, start_s: float, end_s: float
    ) -> Seen | None:
        """Keep a window, unless it shares time with the last one of its source; windows of events are always kept."""
        with self._lock:
            if kind != "event":
                last = self._last_end.get(source, -math.inf)
                if start_s < last <= end_s:
                    return None
                self._last_end[source] = end_s
            self._numbers += 1
            seen = make(self._numbers, kind)
            kept = self._events if kind == "event" else self._hard
            kept[seen.id] = seen
            while len(kept) > MAX_WINDOWS or (len(kept) > 1 and _bytes(kept.values()) > MAX_BYTES):
                kept.popitem(last=False)
            return seen

    def link(self, event_id: str, seen: Seen) -> None:
        """Let an event point to the window that showed it best."""
        with self._lock:
            before = self.of_event(event_id)
            if before is None or seen.verdict.match > before.verdict.match:
                self._of_event[event_id] = seen.id
            while len(self._of_event) > 2 * MAX_WINDOWS:
                self._of_event.popitem(last=False)

    def of_event(self, event_id: str) -> Seen | None:
        """The window of an event."""
        with self._lock:
            return self.find(self._of_event.get(event_id, 0))

    def find(self, number: int) -> Seen | None:
        """The window of this number; None where it is gone."""
        with self._lock:
            return self._hard.get(number) or self._events.get(number)

    def hard(self) -> list[Seen]:
        """The windows to look at, newest first."""
        with self._lock:
            return list(reversed(self._hard.values()))

    def rescore(
        self, version: tuple[int, int], decisions: Decisions, measure: Callable[[Floats], Sequence[Answer]]
    ) -> None:
        """Answer all windows again if the gallery has changed since the last time."""
        with self._lock:
            if version == self._version:
                return
            every = [*self._hard.values(), *self._events.values()]
            self._version = version
        for at in range(0, len(every), 16):
            some = every[at : at + 16]
            for seen, answer in zip(some, measure(np.stack([one.features for one in some])), strict=True):
                seen.now = verdict_of(answer, decisions)


def _bytes(kept: Iterable[Seen]) -> int:
    """Of all pictures; one that two windows share counts twice."""
    return sum(len(picture.jpeg) for seen in kept for picture in seen.pictures)


def verdict_of(answer: Answer, decisions: Decisions) -> Verdict:
    """The verdict on an answer, also on one of nothing."""
    if not answer.names:
        return Verdict("unknown", "unknown", 0.0, math.inf, 0.0, answer.missing)
    return judge(answer.distances, answer.probabilities, answer.names, answer.limits, decisions)
