"""Time on a live source: when its frames were taken, and how long to wait before the next try to connect."""

from __future__ import annotations

import random
from dataclasses import dataclass

# Beyond this, a stamp that comes late is another clock, not a late frame.
JUMP_SECONDS = 2.0
# A paced source may run ahead of its clock by less than this between two frames.
AHEAD_SECONDS = 10.0
DRIFT = 0.01  # seconds a second by which the clock follows frames that come ever later

FIRST_DELAY = 0.1  # seconds
# Connecting and waiting for a key frame takes up to a second: so recognition resumes within two of a server's return.
MOST_DELAY = 0.5
# An address that refuses the password is asked seldom: cameras lock accounts.
REFUSED_DELAY = 10.0


class StreamClock:
    """Puts the stamps of a live source on the machine's clock, over all its connections; time never goes back.

    Stamps count from anywhere and drift. A frame cannot come before it was taken, so the frame that came
    quickest ties the stamps to the clock, and frames that come late keep their distances. `paced`: frames come
    in bursts (HLS brings seconds at once) and belong to the time after the first; else they belong to the past.
    """

    def __init__(self) -> None:
        self.paced = False
        self._offset: float | None = None  # a stamp's moment is stamp + offset
        self._seen = 0.0
        self._first: float | None = None
        self._last = 0.0

    def connect(self, paced: bool) -> None:
        """Stamps begin anew."""
        self.paced, self._offset = paced, None

    def moment(self, stamp: float | None, now: float) -> float:
        """The moment on the machine's clock that `stamp` (seconds; None: has none) means; `now` it came.

        Later than `now` only for a paced source: the frame is to be waited for.
        """
        if stamp is None:
            return now
        if self._offset is None:
            self._offset, self._seen = now - stamp, now
        late = now - (stamp + self._offset)
        if late > JUMP_SECONDS or -late > (AHEAD_SECONDS if self.paced else 0.0):
            self._offset += late
        elif late > 0:
            self._offset += min(late, DRIFT * (now - self._seen))
        self._seen = now
        return stamp + self._offset

    def since_first(self, moment: float) -> float:
        """Seconds after the source's first frame; never less than before."""
        if self._first is None:
            self._first = moment
        self._last = max(self._last, moment - self._first)
        return self._last


@dataclass(frozen=True)
class Backoff:
    """Seconds between tries: 0.1, doubled up to 0.5, each shortened at random by up to half.

    Random, so that many readers of one recorder do not come back in step; never longer, for a few tries a second
    cost nothing.
    """

    first: float = FIRST_DELAY
    most: float = MOST_DELAY
    refused: float = REFUSED_DELAY

    def delay(self, tries: int, refused: bool) -> float:
        """How long to wait after `tries` (1 or more) in a row have failed."""
        longest = self.refused if refused else min(self.most, self.first * 2.0 ** min(tries - 1, 16))
        return longest * random.uniform(0.5, 1.0)


BACKOFF = Backoff()
