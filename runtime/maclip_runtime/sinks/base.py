"""A sink: a bounded outbox of events and the thread that delivers them.

The watching thread only puts lines into the outbox. Where they cannot be delivered as fast as they come, the
outbox fills and old ones are dropped: recognition goes on as if nothing was wrong, and the count says what is missing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from abc import abstractmethod
from collections import deque
from types import TracebackType

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event
from maclip_runtime.sinks.record import event_line

log = logging.getLogger("maclip")

OUTBOX_EVENTS = 1000
CLOSE_SECONDS = 5.0  # how long closing waits for what is still in the outbox
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 30.0
TRIES = 6  # of an event that the receiver answers but does not take
NAG_SECONDS = 60.0  # between two warnings that events are being dropped


class Refused(Exception):
    """The receiver will never take this event: it is dropped at once."""


class Faltered(Exception):
    """The receiver is there but could not take this event now: it is tried a few times, then dropped."""


class Sink(Callbacks):
    """Delivers events in order. `name` holds no credentials; close it, or use it as a context manager.

    While the receiver cannot be reached, events wait; where more than `capacity` wait, the oldest "update" is
    dropped, or else the oldest event. `dropped`, `delivered` and `waiting` may be read from any thread.
    """

    close_s: float | None = CLOSE_SECONDS  # None: as long as it takes

    def __init__(self, name: str, capacity: int = OUTBOX_EVENTS) -> None:
        self.name = name
        self.dropped = 0
        self.delivered = 0
        self._capacity = capacity
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._in_hand = 0
        self._change = threading.Condition()
        self._deadline: float | None = None  # set once closing
        self._abandoned = False
        self._nagged_at = -NAG_SECONDS
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Events that are not delivered yet."""
        with self._change:
            return len(self._outbox) + self._in_hand

    def event(self, event: Event) -> None:
        """Take an event for delivery, at once. Once closed, it counts as dropped."""
        line = event_line(event)
        with self._change:
            if self._deadline is not None:
                self.dropped += 1
                return
            if len(self._outbox) >= self._capacity:
                self._make_room()
            self._outbox.append((event.kind, line))
            self._change.notify_all()

    def close(self) -> None:
        """Deliver what waits, for `close_s` seconds at most, and let go. Says what was dropped. Twice is once."""
        with self._change:
            if self._deadline is not None:
                return
            self._deadline = time.monotonic() + (float("inf") if self.close_s is None else self.close_s)
            self._change.notify_all()
        self._thread.join(None if self.close_s is None else self.close_s + 1.0)
        with self._change:
            self._abandoned = True
            self.dropped += len(self._outbox) + self._in_hand
            self._outbox.clear()
            self._in_hand = 0
        if self.dropped:
            log.warning("%s: %d of %d events were dropped", self.name, self.dropped, self.dropped + self.delivered)

    @abstractmethod
    def _deliver(self, line: bytes) -> None:
        """Deliver one line of JSON, in the sink's own thread.

        Raises OSError where the receiver cannot be reached, `Faltered`, `Refused`.
        """

    def _let_go(self, deadline: float) -> None:
        """Close what is held, in the sink's own thread, by `deadline` (`time.monotonic`)."""

    def _make_room(self) -> None:
        updates = (place for place, (kind, _) in enumerate(self._outbox) if kind == "update")
        del self._outbox[next(updates, 0)]
        self.dropped += 1
        if time.monotonic() - self._nagged_at > NAG_SECONDS:
            self._nagged_at = time.monotonic()
            log.warning("%s: the outbox is full, events are dropped (%d so far)", self.name, self.dropped)

    def _run(self) -> None:
        while (line := self._next()) is not None:
            taken = self._insist(line)
            with self._change:
                if self._abandoned:
                    return
                self._in_hand = 0
                self.delivered += taken
                self.dropped += not taken
        self._let_go(self._deadline or 0.0)

    def _next(self) -> bytes | None:
        """The next line; None once closing and empty, or closing and late."""
        with self._change:
            self._change.wait_for(lambda: self._outbox or self._deadline is not None)
            if not self._outbox or self._late():
                return None
            self._in_hand = 1
            return self._outbox.popleft()[1]

    def _insist(self, line: bytes) -> bool:
        """Deliver one line, however often it takes; whether it was taken."""
        delay_s, tries, troubled = FIRST_RETRY_SECONDS, 0, False
        while True:
            try:
                self._deliver(line)
            except OSError as error:
                problem = _words(error)
            except Faltered as error:
                problem, tries = _words(error), tries + 1
            except Exception as error:  # `Refused`, or a fault of ours that trying again would not mend
                log.warning("%s: an event was refused (%s)", self.name, _words(error))
                return False
            else:
                if troubled:
                    log.info("%s: delivering again", self.name)
                return True
            if tries >= TRIES:
                log.warning("%s: an event was given up after %d tries (%s)", self.name, tries, problem)
                return False
            if not troubled and not self._late():
                log.warning("%s: cannot deliver (%s), trying again", self.name, problem)
            troubled = True
            if not self._pause(delay_s * random.uniform(0.75, 1.25)):
                return False
            delay_s = min(2 * delay_s, LAST_RETRY_SECONDS)

    def _pause(self, seconds: float) -> bool:
        """Wait, shorter when closing; whether there is time for another try."""
        with self._change:
            if not self._change.wait_for(lambda: self._deadline is not None, seconds):
                return True
        assert self._deadline is not None
        time.sleep(max(0.0, min(seconds, FIRST_RETRY_SECONDS, self._deadline - time.monotonic())))
        return not self._late()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def _words(error: Exception) -> str:
    """The error in a few words, without the address that it may repeat."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:200]
