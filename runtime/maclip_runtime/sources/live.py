"""A live source: a thread that reads ahead and forgets, connects again by itself, and says how it fares."""

from __future__ import annotations

import threading
import time
from collections import deque

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources.base import Frame, Source, SourceState, SourceStatus, part_of
from maclip_runtime.sources.clock import BACKOFF, Backoff, StreamClock
from maclip_runtime.sources.ffmpeg import Arrival, Connect, Connection, ConnectionLost
from maclip_runtime.sources.options import DEFAULTS, SourceOptions

# A try to connect takes this long at most, in turn: short ones, so that a server that comes back while one hangs is
# not missed for long, and now and then a long one for a server that is slow to answer.
OPEN_SECONDS = (4.0, 4.0, 10.0)
FIRST_TRIES = 3  # before a source that was never there is an error
STEADY_SECONDS = 2.0  # a connection that held less than this counts as a failed try
CLOSE_SECONDS = 1.0  # how long `close` waits for the reader; FFmpeg lets go of a silent server after `stall_s`
RATE_SECONDS = 2.0  # over which the rate is taken


class LiveSource(Source):
    """The newest frame of a connection that is made again whenever it breaks.

    One thread connects, reads and decodes as fast as frames come, and keeps the newest. A source makes one thread and
    one connection at a time, however often it is lost. `connect` is called by that thread.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        options: SourceOptions = DEFAULTS,
        backoff: Backoff = BACKOFF,
    ) -> None:
        """Begin to connect; unless `options.wait`, wait until the first try that counts. Raises `source-lost`."""
        super().__init__(name, live=True)
        self._connect = connect
        self._options = options
        self._backoff = backoff
        self._clock = StreamClock()
        self._stop = threading.Event()
        # All below is guarded by this.
        self._changed = threading.Condition()
        self._newest: tuple[Arrival, float, int] | None = None  # picture, seconds since the first, connection
        self._state = SourceState.CONNECTING
        self._since = time.monotonic()
        self._heard = self._since  # the last frame or the last connection's start
        self._running_from = self._since  # the first frame of this connection
        self._came: deque[float] = deque(maxlen=512)
        self._connections = 0  # that brought a frame
        self._given_from = 0  # the connection of the last frame that was given
        self._given = self._dropped = 0
        self._problem = ""
        self._error: MaclipError | None = None
        self._reader = threading.Thread(target=self._run, name=f"maclip {name}", daemon=True)
        self._reader.start()
        if not options.wait:
            self._await_first()

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The newest frame that was not given yet; None after `timeout_s` seconds without one, or at the end.

        Raises `source-lost` once the source is given up. One thread reads; `status` and `close` are for any.
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
        """How the source fares right now; "stalled" is said after half of `stall_s` without a frame."""
        now = time.monotonic()
        with self._changed:
            state, since, problem = self._state, self._since, self._problem
            silent_from = self._heard + self._options.stall_s / 2
            if state is SourceState.RUNNING and now > silent_from:
                state, since, problem = SourceState.STALLED, silent_from, f"sent nothing for {now - self._heard:.1f} s"
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
        """Stop reading. A reader that waits for a silent server closes its connection later by itself."""
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
        """The reader: connect, drain, and again, until the end."""
        tries = 0
        while not self._stop.is_set():
            self._enter(SourceState.CONNECTING)
            before = self._connections
            try:
                self._attend(OPEN_SECONDS[tries % len(OPEN_SECONDS)])
                break
            except ConnectionLost as lost:
                why, refused = lost.why, lost.refused
            except MaclipError as error:  # what no second try can mend
                return self._finish(error)
            except Exception as error:  # a reader that dies in silence would be a camera that lies
                why, refused = f"cannot be read ({type(error).__name__})", False
            steady = self._connections > before and self._heard - self._running_from >= STEADY_SECONDS
            tries = 1 if steady else tries + 1
            self._enter(SourceState.LOST, why)
            if self._is_given_up(tries, refused):
                return self._finish(source_lost(self.name, why))
            self._stop.wait(self._backoff.delay(tries, refused))
        self._finish(None)

    def _attend(self, open_s: float) -> None:
        """One connection, from its opening to its end. Raises `ConnectionLost` where it breaks or falls silent."""
        connection = self._connect(open_s)
        try:
            self._clock.connect(connection.paced)
            self._drain(connection)
        finally:
            connection.close()

    def _drain(self, connection: Connection) -> None:
        first = True
        heard = time.monotonic()
        for arrival in connection.arrivals():
            if self._stop.is_set():
                return
            now = time.monotonic()
            if arrival is None:
                if now - heard > self._options.stall_s:
                    raise ConnectionLost(f"sent no picture for {self._options.stall_s:g} s")
                continue
            moment = self._clock.moment(arrival.stamp_s, now)
            if moment > now and self._stop.wait(moment - now):
                return
            heard = time.monotonic()
            self._keep(arrival, self._clock.since_first(moment), heard, first)
            first = False

    def _keep(self, arrival: Arrival, time_s: float, now: float, first: bool) -> None:
        with self._changed:
            if first:
                self._connections += 1
                self._running_from = now
            self._dropped += self._newest is not None
            self._newest = (arrival, time_s, self._connections)
            self._heard = now
            self._came.append(now)
            if self._state is SourceState.CONNECTING:
                self._state, self._since = SourceState.RUNNING, now
            self._changed.notify_all()

    def _is_given_up(self, tries: int, refused: bool) -> bool:
        if self._connections == 0 and not self._options.wait:
            return refused or tries >= FIRST_TRIES
        return self._options.reconnects is not None and tries > self._options.reconnects

    def _finish(self, error: MaclipError | None) -> None:
        with self._changed:
            if not self._stop.is_set():  # who closed the source knows that it has ended
                self._error = error
        self._enter(SourceState.ENDED)

    def _enter(self, state: SourceState, problem: str = "") -> None:
        with self._changed:
            if self._state is not state and not self._over:
                self._state, self._since = state, time.monotonic()
            self._problem = problem or self._problem
            self._changed.notify_all()


def source_lost(name: str, why: str) -> MaclipError:
    """The error `source-lost` for a camera or address; `why` continues the sentence."""
    return MaclipError("source-lost", f"{name} {why}.", "Check that the camera is on and its address is right.")


def _again(error: MaclipError) -> MaclipError:
    """The same error, anew: one that is raised many times would gather every traceback."""
    return MaclipError(error.code, error.message, error.fix, error.exit_code)
