"""Time on a live source: when its frames were taken, on this machine's clock."""

from __future__ import annotations

JUMP_SECONDS = 2.0  # a stamp later than this belongs to another clock, not to a late frame
MAX_AHEAD_SECONDS = 10.0  # how far a paced source may run ahead of its clock between two frames
DRIFT = 0.01  # seconds per second by which the clock follows frames that arrive ever later


class StreamClock:
    """Converts the stamps of a live source to the machine's clock, across all its connections; time never goes back.

    Stamps count from an arbitrary origin, and they drift. A frame cannot arrive before it was taken, so the frame
    with the shortest delay fixes the offset between stamps and clock, and late frames keep their distances.
    `paced`: frames arrive in bursts (HLS brings seconds at once) and are due after the first one; otherwise they were
    taken before they arrived.
    """

    def __init__(self) -> None:
        self.paced = False
        self._offset: float | None = None  # moment = stamp + offset
        self._seen = 0.0
        self._first: float | None = None
        self._last = 0.0

    def connect(self, paced: bool) -> None:
        """A new connection: stamps have a new origin."""
        self.paced, self._offset = paced, None

    def moment(self, stamp: float | None, now: float) -> float:
        """When a frame was taken, on the machine's clock; later than `now` only for a paced source, which then waits.

        stamp: in seconds; None for a frame without one.
        now: when the frame arrived, in seconds of the machine's clock.
        """
        if stamp is None:
            return now
        if self._offset is None:
            self._offset, self._seen = now - stamp, now
        late = now - (stamp + self._offset)
        if late > JUMP_SECONDS or -late > (MAX_AHEAD_SECONDS if self.paced else 0.0):
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
