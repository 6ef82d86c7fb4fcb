"""Evidence as callbacks of a watch: frames go to a thread that keeps the last seconds, shots to one that writes."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType

from maclip_runtime import values
from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.evidence.folder import CLIP, STRIP, EvidenceFolder
from maclip_runtime.evidence.options import DEFAULTS, EvidenceOptions
from maclip_runtime.evidence.shots import Reel, Shot
from maclip_runtime.sinks.health import Health
from maclip_runtime.sources import Frame, SourceState, SourceStatus

log = logging.getLogger("maclip")

MAX_WAITING_FRAMES = 16  # for the thread that encodes them; a frame of 1920 x 1080 is 6 MB
MAX_WAITING_SHOTS = 8  # for the disk
FILE_PATIENCE_SECONDS = 10.0  # that a file's reader waits for the disk; cameras never wait
CLOSE_SECONDS = 10.0
EPSILON_SECONDS = 1e-6  # times are sums of fractions


class Evidence(Callbacks):
    """Keeps for each event a strip NAME.jpg and a clip NAME.mp4, NAME being the event's id. A context manager.

    Hand it to `Recognizer.watch` or `Recognizer.stream`; their events then say in `strip` and `clip` how the files are
    called. These are written about a second after the event has ended. A full or slow disk drops evidence, which is
    counted in `dropped`, never events.

    folder: where it is kept; it is made if need be.
    options: pre-roll, length, limits on size and age; default: `EvidenceOptions()`.

    Raises `output-unwritable`.
    """

    def __init__(self, folder: str | PathLike[str], options: EvidenceOptions | None = None) -> None:
        self._options = DEFAULTS if options is None else values.instance(options, EvidenceOptions, "options")
        self.folder = EvidenceFolder(Path(values.path(folder, "evidence")).absolute(), self._options)
        self.name = f"evidence in {self.folder.path}"
        self.health = Health(self.name)
        self.dropped = 0
        self.delivered = 0
        self._live: set[str] = set()
        self._due_s: dict[str, float] = {}  # when the next frame is kept
        self._reels: dict[str, Reel] = {}  # used by the encoding thread only
        self._room = threading.Semaphore(MAX_WAITING_FRAMES)
        self._work: queue.SimpleQueue[Callable[[], Iterable[Shot]] | None] = queue.SimpleQueue()
        self._shots: queue.Queue[Shot | None] = queue.Queue(MAX_WAITING_SHOTS)
        self._closed = False
        self._threads = [
            threading.Thread(target=run, name=f"evidence {what}", daemon=True)
            for what, run in (("frames", self._encode), ("disk", self._write))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Evidence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def linked(self, event: Event) -> Event:
        """The event with the names of its files; without them while evidence cannot be written."""
        if self._closed or self.health.troubled or not event.id:
            return event
        return replace(event, strip=event.id + STRIP, clip=event.id + CLIP)

    def frame(self, source: str, frame: Frame) -> None:
        """Queue a frame, a few of them a second. A camera's is left out where the thread is busy."""
        step_s, due_s = 1 / self._options.rate, self._due_s.get(source, -math.inf)
        early = due_s - step_s <= frame.time_s < due_s - EPSILON_SECONDS  # not where the clock went back
        if self._closed or (early and not frame.restarted):
            return
        if not self._room.acquire(blocking=source not in self._live):
            return
        on_time = abs(frame.time_s - due_s) < step_s
        self._due_s[source] = (due_s if on_time else frame.time_s) + step_s
        pixels = frame.pixels  # converted here: the recogniser's thread may do so too, and FFmpeg is not thread-safe

        def take() -> Iterable[Shot]:
            try:
                return [*self._reel(source).frame(pixels, frame.time_s, frame.restarted)]
            finally:
                self._room.release()

        self._work.put(take)

    def event(self, event: Event) -> None:
        """Begin or end the shot of an event."""
        if event.kind != "update" and event.id and not self._closed:
            self._work.put(lambda: self._reel(event.source).event(event))

    def status(self, status: SourceStatus) -> None:
        """Note which sources are live; a source that has ended or is lost finishes its shots."""
        if status.live:
            self.is_live(status.name)
        if status.state in (SourceState.LOST, SourceState.ENDED) and not self._closed:
            self._work.put(lambda: self._reel(status.name).ended())

    def is_live(self, source: str) -> None:
        """Note that a source goes on without its reader, so its frames never wait."""
        self._live.add(source)

    def close(self) -> None:
        """Write what is being taken, and log the result. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self._work.put(lambda: [shot for reel in self._reels.values() for shot in reel.finish()])
        self._work.put(None)
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)
        if any(thread.is_alive() for thread in self._threads):
            log.error("%s: the disk does not respond; the last clips are not written", self.name)
        if self.dropped:
            log.warning("%s: %d of %d were dropped", self.name, self.dropped, self.dropped + self.delivered)

    def _reel(self, source: str) -> Reel:
        return self._reels.setdefault(source, Reel(self._options))

    def _encode(self) -> None:
        """The thread that keeps the last seconds of each source."""
        while (work := self._work.get()) is not None:
            try:
                for shot in work():
                    if shot.stills:
                        self._hand_over(shot)
            except Exception:
                log.exception("evidence failed and goes on")
        with suppress(queue.Full):
            self._shots.put(None, timeout=CLOSE_SECONDS)

    def _hand_over(self, shot: Shot) -> None:
        # Recognition of a file may be faster than the disk; of a camera it must not wait.
        waits = not self._live and not self.health.troubled
        try:
            self._shots.put(shot, block=waits or self._closed, timeout=FILE_PATIENCE_SECONDS)
        except queue.Full:
            self.dropped += 1
            self.health.fails("the disk is too slow, evidence is dropped")

    def _write(self) -> None:
        """The thread that writes."""
        while (shot := self._shots.get()) is not None:
            try:
                self.folder.write(shot)
            except Exception as error:
                self.dropped += 1
                words = error.message if isinstance(error, MaclipError) else first_line(error)
                self.health.fails(f"evidence is dropped ({words})")
            else:
                self.delivered += 1
                self.health.works("evidence is kept again")
