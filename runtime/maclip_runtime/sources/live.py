"""A live source: a thread keeps its newest frame and reconnects by itself."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass

from maclip_runtime.errors import MaclipError
from maclip_runtime.redaction import redact_text
from maclip_runtime.sources.base import Frame, Source, SourceState, SourceStatus, part_of
from maclip_runtime.sources.clock import StreamClock
from maclip_runtime.sources.connection import Arrival, Connect, Connection, ConnectionLost
from maclip_runtime.sources.options import DEFAULTS, SourceOptions

# How long each attempt to connect may take, in turn: short ones, so that a server that comes back while one hangs is
# not missed for long, and now and then a long one for a server that is slow to answer.
OPEN_SECONDS = (4.0, 4.0, 10.0)
MAX_FIRST_TRIES = 3  # before a source that never answered is an error
STEADY_SECONDS = 2.0  # a connection that held for less counts as a failed attempt
CLOSE_SECONDS = 1.0  # how long `close` waits for the reader; FFmpeg abandons a silent server after `patience_s`
# Cameras that save bandwidth send a key frame a minute, and until then nothing can be decoded. Reconnecting would only
# lose the place in the queue, so a first picture may take this long, unless the caller chose a patience of their own.
KEY_FRAME_SECONDS = 65.0
RATE_SECONDS = 2.0  # over which the frame rate is measured

FIRST_DELAY_SECONDS = 0.1
# Connecting and waiting for a key frame takes up to a second: so recognition resumes within two of a server's return.
MAX_DELAY_SECONDS = 0.5
REFUSED_DELAY_SECONDS = 10.0  # after a wrong password: cameras lock accounts

VERIFIED = ("https://", "rtsps://")  # FFmpeg does not say that it was the certificate


@dataclass(frozen=True)
class Backoff:
    """Seconds between attempts to connect: `first_s`, doubled up to `max_s`; `refused_s` after a wrong password.

    Each delay is shortened at random by up to half, so that many readers of one recorder do not return in step.
    """

    first_s: float = FIRST_DELAY_SECONDS
    max_s: float = MAX_DELAY_SECONDS
    refused_s: float = REFUSED_DELAY_SECONDS

    def delay(self, tries: int, refused: bool) -> float:
        """Seconds to wait after `tries` (1 or more) failed attempts in a row."""
        delay_s = self.refused_s if refused else min(self.max_s, self.first_s * 2.0 ** min(tries - 1, 16))
        return delay_s * random.uniform(0.5, 1.0)


BACKOFF = Backoff()


class LiveSource(Source):
    """Gives the newest frame of a connection, and reconnects whenever it breaks.

    One thread connects, reads and decodes as fast as frames arrive, and keeps the newest. There is one thread and one
    connection at a time, however often it is lost.
    """

    def __init__(
        self, name: str, connect: Connect, *, options: SourceOptions = DEFAULTS, backoff: Backoff = BACKOFF
    ) -> None:
        """Start to connect; unless `options.wait`, return once the first frame has arrived. Raises `source-lost`.

        name: for messages and events, without credentials.
        connect: called by the reading thread with the seconds that it may take; raises `ConnectionLost`.
        options: patience and region of interest.
        backoff: seconds between attempts to connect.
        """
        super().__init__(name, live=True)
        self._connect = connect
        self._options = options
        self._backoff = backoff
        self._clock = StreamClock()
        self._stop = threading.Event()
        # Guards everything below.
        self._changed = threading.Condition()
        self._undecoded_from: float | None = None  # since when the connection has brought nothing but undecodable data
        self._newest: tuple[Arrival, float, int] | None = None  # picture, seconds since the first, connection
        self._state = SourceState.CONNECTING
        self._since = time.monotonic()
        self._heard = self._since  # when the last frame arrived or the last connection started
        self._running_from = self._since  # when this connection's first frame arrived
        self._came: deque[float] = deque(maxlen=512)
        self._connections = 0  # that delivered a frame
        self._given_from = 0  # the connection of the last frame given out
        self._given = self._dropped = 0
        self._problem = ""
        self._error: MaclipError | None = None
        self._reader = threading.Thread(target=self._run, name=f"maclip {name}", daemon=True)
        self._reader.start()
        if not options.wait:
            self._await_first()

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The newest frame that was not given yet; None after `timeout_s` seconds without one, or at the end.

        Raises `source-lost` once the source is given up. For one thread; `status` and `close` are for any.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._over, timeout_s)
            if self._newest is None:
                if self._error is not None:
                    raise _again(self._error)
                return None
            (arrival, time_s, connection), self._newest = self._newest, None
            restarted = 0 < self._given_from < connection
            index, self._given, self._given_from = self._given, self._given + 1, connection
        return part_of(self._options.roi, Frame(arrival.pixels, time_s, index, restarted))

    @property
    def status(self) -> SourceStatus:
        """The current state; "stalled" after half of `stall_s` without a frame."""
        now = time.monotonic()
        with self._changed:
            state, since, problem = self._state, self._since, self._problem
            silent_from = self._heard + self._options.patience_s / 2
            if state is SourceState.RUNNING and now > silent_from:
                state, since, problem = (
                    SourceState.STALLED,
                    silent_from,
                    f"sent no picture for {now - self._heard:.1f} s",
                )
            elif state is SourceState.CONNECTING and self._undecoded_from is not None:
                waited_s = now - self._undecoded_from
                problem = f"has sent no picture that can be decoded for {waited_s:.1f} s: its next key frame is awaited"
            lately = [moment for moment in self._came if moment > now - RATE_SECONDS]
            rate = (len(lately) - 1) / (now - lately[0]) if len(lately) > 1 else len(lately) / RATE_SECONDS
            return SourceStatus(
                self.name,
                state,
                now - since,
                self._given,
                self._dropped,
                max(0, self._connections - 1),
                rate,
                problem,
            )

    def close(self) -> None:
        """Stop reading. A reader that waits for a silent server closes its connection later."""
        self._stop.set()
        self._enter(SourceState.ENDED)
        if self._reader is not threading.current_thread():
            self._reader.join(CLOSE_SECONDS)

    @property
    def _over(self) -> bool:
        return self._state is SourceState.ENDED

    def _await_first(self) -> None:
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._connections or self._over)
                if self._error is not None and not self._connections:
                    raise _again(self._error)
        except BaseException:
            self.close()
            raise

    def _run(self) -> None:
        """The reading thread: connect, read until the connection breaks, and again."""
        tries = 0
        while not self._stop.is_set():
            self._enter(SourceState.CONNECTING)
            before = self._connections
            try:
                self._read_one(OPEN_SECONDS[tries % len(OPEN_SECONDS)])
                break
            except ConnectionLost as lost:
                why, refused = lost.why, lost.refused
            except MaclipError as error:  # another attempt would not help
                return self._finish(error)
            except Exception as error:  # a thread that dies silently would look like a silent camera
                why, refused = f"cannot be read ({type(error).__name__})", False
            steady = self._connections > before and self._heard - self._running_from >= STEADY_SECONDS
            tries = 1 if steady else tries + 1
            self._enter(SourceState.LOST, why)
            if self._is_given_up(tries, refused):
                return self._finish(source_lost(self.name, why))
            self._stop.wait(self._backoff.delay(tries, refused))
        self._finish(None)

    def _read_one(self, open_s: float) -> None:
        """Open one connection and read it to its end. Raises `ConnectionLost` where it breaks or falls silent."""
        connection = self._connect(open_s)
        try:
            self._clock.connect(connection.paced)
            self._drain(connection)
        finally:
            with self._changed:
                self._undecoded_from = None
            connection.close()

    def _drain(self, connection: Connection) -> None:
        first = True
        heard = time.monotonic()
        for arrival in connection.arrivals():
            if self._stop.is_set():
                return
            now = time.monotonic()
            if arrival is None:
                self._wait_on(heard, now, first)
                continue
            moment = self._clock.moment(arrival.stamp_s, now)
            if moment > now and self._stop.wait(moment - now):
                return
            heard = time.monotonic()
            self._keep(arrival, self._clock.since_first(moment), heard, first)
            first = False

    def _wait_on(self, heard: float, now: float, first: bool) -> None:
        """Raise `ConnectionLost` where no picture has come for too long."""
        options = self._options
        if not first:
            if now - heard > options.patience_s:
                raise ConnectionLost(f"sent no picture for {options.patience_s:g} s")
            return
        with self._changed:
            self._undecoded_from = self._undecoded_from or heard
        limit_s = KEY_FRAME_SECONDS if options.stall_s is None else options.stall_s
        if now - heard > limit_s:
            raise ConnectionLost(f"sent no picture that can be decoded for {limit_s:g} s (no key frame came)")

    def _keep(self, arrival: Arrival, time_s: float, now: float, first: bool) -> None:
        with self._changed:
            if first:
                self._connections += 1
                self._running_from = now
            self._dropped += self._newest is not None
            self._newest = (arrival, time_s, self._connections)
            self._heard = now
            self._undecoded_from = None
            self._came.append(now)
            if self._state is SourceState.CONNECTING:
                self._state, self._since = SourceState.RUNNING, now
            self._changed.notify_all()

    def _is_given_up(self, tries: int, refused: bool) -> bool:
        if self._connections == 0 and not self._options.wait:
            return refused or tries >= MAX_FIRST_TRIES
        return self._options.reconnects is not None and tries > self._options.reconnects

    def _finish(self, error: MaclipError | None) -> None:
        with self._changed:
            if not self._stop.is_set():  # whoever closed the source knows that it has ended
                self._error = error
        self._enter(SourceState.ENDED)

    def _enter(self, state: SourceState, problem: str = "") -> None:
        with self._changed:
            if self._state is not state and not self._over:
                self._state, self._since = state, time.monotonic()
            self._problem = redact_text(problem) or self._problem
            self._changed.notify_all()


def source_lost(name: str, why: str) -> MaclipError:
    """The error `source-lost` of a camera or stream; `why` continues the sentence."""
    fix = "Check that the camera is on and its address is right."
    if name.lower().startswith(VERIFIED):
        fix += " If its certificate is its own, name it in SSL_CERT_FILE, or give --insecure."
    return MaclipError("source-lost", f"{name} {why}.", fix)


def _again(error: MaclipError) -> MaclipError:
    """A copy of the error: raising one object many times would accumulate tracebacks."""
    return MaclipError(error.code, error.message, error.fix, error.exit_code)
