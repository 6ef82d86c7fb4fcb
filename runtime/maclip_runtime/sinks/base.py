"""A sink: a bounded outbox of events, and the thread that delivers them.

The watching thread only puts events into the outbox. Where they cannot be delivered as fast as they happen, the outbox
fills and old ones are dropped and counted; recognition never waits.
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from abc import abstractmethod
from collections import deque
from types import TracebackType

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event
from maclip_runtime.sinks.health import Health
from maclip_runtime.sinks.record import event_line

log = logging.getLogger("maclip")

MAX_WAITING_EVENTS = 1000
CLOSE_SECONDS = 5.0  # how long closing waits for the outbox to empty
FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 30.0
MAX_TRIES = 6  # of an event for which the receiver answers `RetryLater`
WARNING_SECONDS = 60.0  # between two warnings that events are being dropped


class Refused(Exception):
    """The receiver will never accept this event: it is dropped at once."""


class RetryLater(Exception):
    """The receiver answers but cannot accept this event now: it is retried a few times, then dropped."""


class Sink(Callbacks):
    """Delivers events in order. A context manager that closes itself; subclasses write `deliver`.

    While the receiver cannot be reached, events wait. Where more than `capacity` wait, the oldest "update" is dropped,
    or else the oldest event. `dropped`, `delivered` and `waiting` count events; any thread may read them.
    """

    close_s: float | None = CLOSE_SECONDS  # how long closing waits for the outbox to empty; None: without limit

    def __init__(self, name: str, *, capacity: int = MAX_WAITING_EVENTS) -> None:
        """Start the delivering thread: a subclass calls this last, once `deliver` has all that it needs.

        name: for messages and metrics, without credentials.
        capacity: how many events may wait.
        """
        self.name = name
        self.health = Health(name)
        self.dropped = 0
        self.delivered = 0
        self._capacity = capacity
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._in_hand = 0
        self._change = threading.Condition()
        self._deadline: float | None = None  # set once closing
        self._abandoned = False
        self._warned_at = -WARNING_SECONDS
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
        """How many events are not delivered yet."""
        with self._change:
            return len(self._outbox) + self._in_hand

    def event(self, event: Event) -> None:
        """Queue an event; returns at once. After closing it counts as dropped."""
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
        """Deliver what waits, for at most `close_s` seconds, then release the receiver. Logs how many were dropped."""
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
    def deliver(self, line: bytes) -> None:
        """Deliver one event, a line of JSON in UTF-8 (see `event_record`), in the sink's own thread.

        Raises OSError where the receiver cannot be reached: the event is retried until it can. Raises `RetryLater`,
        `Refused`. Any other exception counts as `Refused`.
        """

    def release(self, deadline: float) -> None:
        """Close files and connections, in the sink's own thread, before `deadline` (`time.monotonic`)."""

    def _make_room(self) -> None:
        updates = (index for index, (kind, _) in enumerate(self._outbox) if kind == "update")
        del self._outbox[next(updates, 0)]
        self.dropped += 1
        if time.monotonic() - self._warned_at > WARNING_SECONDS:
            self._warned_at = time.monotonic()
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
        try:
            self.release(self._deadline or 0.0)
        except Exception as error:
            log.warning("%s: did not close properly (%s)", self.name, words_of(error))

    def _next(self) -> bytes | None:
        """The next line; None when closing, once the outbox is empty or time is up."""
        with self._change:
            self._change.wait_for(lambda: self._outbox or self._deadline is not None)
            if not self._outbox or self._late():
                return None
            self._in_hand = 1
            return self._outbox.popleft()[1]

    def _insist(self, line: bytes) -> bool:
        """Deliver one line, retrying as needed; whether it was accepted."""
        delay_s, tries = FIRST_RETRY_SECONDS, 0
        while True:
            try:
                self.deliver(line)
            except OSError as error:
                problem = words_of(error)
            except RetryLater as error:
                problem, tries = words_of(error), tries + 1
            except Exception as error:  # `Refused`, or a bug that a retry would not mend
                self.health.fails(f"events are refused ({words_of(error)}) and dropped")
                return False
            else:
                self._delivered()
                return True
            if tries >= MAX_TRIES:
                self.health.fails(f"events are given up after {tries} tries ({problem})")
                return False
            if not self._late():
                self.health.fails(f"cannot deliver ({problem}), trying again")
            if not self._pause(delay_s * random.uniform(0.75, 1.25)):
                return False
            delay_s = min(2 * delay_s, MAX_RETRY_SECONDS)

    def _delivered(self) -> None:
        """Called after each `deliver` that raised nothing."""
        self.health.works()

    def _pause(self, seconds: float) -> bool:
        """Wait before a retry, less when closing; whether there is time for another one."""
        with self._change:
            if not self._change.wait_for(lambda: self._deadline is not None, seconds):
                return True
        assert self._deadline is not None
        time.sleep(max(0.0, min(seconds, FIRST_RETRY_SECONDS, self._deadline - time.monotonic())))
        return not self._late()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def words_of(error: BaseException) -> str:
    """The error in a few words, without the address that its message may repeat."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:200]
