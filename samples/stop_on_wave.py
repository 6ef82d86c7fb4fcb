"""A robot that drives, and stops while someone waves or its camera is silent.

    python stop_on_wave.py BUNDLE GALLERY SOURCE [ACTION]

Recognition runs in a thread of its own and puts what it learns into a queue; the control loop never waits for it.
Put your robot's drive in the place of `Robot`. Recognition errs: let it be one reason to stop, never the only one.
"""

from __future__ import annotations

import queue
import sys
import threading

from maclip_runtime import Callbacks, Event, MaclipError, Recognizer, SourceState, SourceStatus

CONTROL_SECONDS = 0.05  # between two commands to the drive
SURE = 0.6  # probability from which a wave counts
News = Event | SourceStatus | MaclipError | None  # None: the source has ended


class Robot:
    """The drive; here it only says what it does."""

    def __init__(self) -> None:
        self._said = ""

    def command(self, what: str) -> None:
        """Called at every step of the control loop."""
        if what != self._said:
            self._said = what
            print(what, flush=True)


class Reporter(Callbacks):
    """Puts the camera's states into the queue."""

    def __init__(self, news: queue.Queue[News]) -> None:
        self._news = news

    def status(self, status: SourceStatus) -> None:
        self._news.put(status)


def watch(bundle: str, gallery: str, source: str, news: queue.Queue[News]) -> None:
    """The recognising thread."""
    try:
        with Recognizer.open(bundle, gallery=gallery) as recognizer:
            for event in recognizer.watch(source, callbacks=[Reporter(news)]):
                news.put(event)
        news.put(None)
    except MaclipError as error:
        news.put(error)


def main(bundle: str, gallery: str, source: str, action: str = "waving") -> int:
    news: queue.Queue[News] = queue.Queue()
    threading.Thread(target=watch, args=(bundle, gallery, source, news), daemon=True).start()
    robot, sees, waved = Robot(), False, False
    while True:
        robot.command("stops: the camera is silent" if not sees else f"stops: {action}" if waved else "drives")
        try:
            new = news.get(timeout=CONTROL_SECONDS)
        except queue.Empty:
            continue
        if new is None:
            return 0
        if isinstance(new, MaclipError):
            robot.command(f"stops: {new.code}")
            print(f"{new.message} {new.fix}", file=sys.stderr)
            return new.exit_code
        if isinstance(new, SourceStatus):
            sees = new.state is SourceState.RUNNING
        elif new.label == action:
            waved = new.kind != "end" and not new.withdrawn and (waved or new.score >= SURE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
