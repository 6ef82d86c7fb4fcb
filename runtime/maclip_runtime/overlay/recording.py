"""The overlay as callbacks of a watch: frames and their scenes go to a thread that draws and encodes."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from types import TracebackType

from maclip_runtime import values
from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError
from maclip_runtime.overlay.drawing import Painter
from maclip_runtime.overlay.scene import Scene, SceneTracker
from maclip_runtime.overlay.writing import VideoWriter, check_path
from maclip_runtime.sources import Frame, SourceStatus, is_live, local_path

log = logging.getLogger("maclip")

MAX_WAITING_FRAMES = 8  # for the encoder; a frame of 1920 x 1080 is 6 MB
CLOSE_SECONDS = 10.0


class Overlay(Callbacks):
    """Writes the watched video with labels and a timeline to a file.

    path: an .mp4 or .mkv file. The first source that gives a frame is written to NAME.mp4, the next to NAME-2.mp4, ...
    sources: the addresses of the sources, which must not be overwritten.

    Files wait for the encoder; frames of live sources are dropped and counted. A full disk ends the video, not the
    recognition: see `problem`. Raises `output-unwritable`, also where `path` is one of `sources`.
    """

    def __init__(self, path: str | PathLike[str], sources: Sequence[str] = ()) -> None:
        self._path = Path(values.path(path, "path"))
        sources = [str(one) for one in values.addresses(sources, "sources")]
        check_path(self._path)
        _refuse_sources(sources, [self._numbered(number) for number in range(1, len(sources) + 1)])
        self._trackers: dict[str, SceneTracker] = {}
        self._recordings: dict[str, _Recording] = {}
        self._live: set[str] = set()
        self._closed = False

    def __enter__(self) -> Overlay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The path of the video."""
        return str(self._path)

    @property
    def dropped(self) -> int:
        """Frames that were not written: the encoder was too slow or failed."""
        return sum(recording.dropped for recording in self._recordings.values())

    @property
    def problem(self) -> MaclipError | None:
        """The error that ended a video early; None without one."""
        return next((found.problem for found in self._recordings.values() if found.problem), None)

    def status(self, status: SourceStatus) -> None:
        """Note which sources are live: their frames do not wait for the encoder."""
        if status.live:
            self._live.add(status.name)

    def frame(self, source: str, frame: Frame) -> None:
        """Queue a frame with the current scene."""
        if self._closed:
            return
        if source not in self._recordings:
            path = self._numbered(len(self._recordings) + 1)
            self._recordings[source] = _Recording(source, path, source in self._live)
        if frame.restarted:
            self._tracker(source).restarted(frame.time_s)
        self._recordings[source].put(frame, self._tracker(source).scene)

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """Add an answer to the timeline."""
        self._tracker(source).verdict(verdict, start_s, end_s)

    def event(self, event: Event) -> None:
        """Add an event to the label and the timeline."""
        self._tracker(event.source).event(event)

    def close(self) -> None:
        """Finish the videos and log the result. Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            for recording in self._recordings.values():
                recording.close()

    def _tracker(self, source: str) -> SceneTracker:
        return self._trackers.setdefault(source, SceneTracker())

    def _numbered(self, number: int) -> Path:
        return self._path if number == 1 else self._path.with_stem(f"{self._path.stem}-{number}")


def _refuse_sources(sources: Sequence[str], targets: Sequence[Path]) -> None:
    """Raises `output-unwritable` where a target is a source, which would be overwritten."""
    for source in sources:
        path = None if is_live(source) else local_path(source)
        for target in targets:
            if path and path.exists() and target.exists() and target.samefile(path):
                raise MaclipError("output-unwritable", f"{target} is a source.", "Give another name to write to.")


class _Recording:
    """One source's video and the thread that writes it."""

    def __init__(self, source: str, path: Path, live: bool) -> None:
        self.dropped = 0
        self.problem: MaclipError | None = None
        self._source = source
        self._path = path
        self._live = live
        self._written = 0
        self._queue: queue.Queue[tuple[Frame, Scene] | None] = queue.Queue(MAX_WAITING_FRAMES)
        self._thread = threading.Thread(target=self._run, name=f"overlay {path.name}", daemon=True)
        self._thread.start()

    def put(self, frame: Frame, scene: Scene) -> None:
        if self._live and self._queue.full():
            self.dropped += 1
            return
        _ = frame.pixels  # converted here: the recogniser's thread may do so too, and FFmpeg is not thread-safe
        self._queue.put((frame, scene))

    def close(self) -> None:
        with suppress(queue.Full):  # the thread hangs, which is logged below
            self._queue.put(None, timeout=CLOSE_SECONDS)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            log.error("%s: the disk does not respond; the video is not finished", self._path)
        elif self._written and not self.problem:
            log.info("saved %s: %d frames of %s, %d dropped", self._path, self._written, self._source, self.dropped)

    def _run(self) -> None:
        painter: Painter | None = None
        writer: VideoWriter | None = None
        while (item := self._queue.get()) is not None:
            if self.problem:
                self.dropped += 1  # still taken from the queue: a file's reader waits for space in it
                continue
            frame, scene = item
            try:
                if writer is None or painter is None:
                    painter = Painter(frame.pixels.shape[1], frame.pixels.shape[0])
                    writer = VideoWriter(self._path, painter.width, painter.height)
                writer.write(painter.paint(frame.pixels, frame.time_s, scene), frame.time_s)
                self._written += 1
            except Exception as error:
                self._fail(error, writer)
        if writer and not self.problem:
            try:
                writer.close()
            except MaclipError as error:
                self._fail(error, writer)

    def _fail(self, error: Exception, writer: VideoWriter | None) -> None:
        self.dropped += 1
        if not isinstance(error, MaclipError):  # our own fault; the reader must not block
            error = MaclipError(
                "overlay-failed", f"{self._path}: {type(error).__name__}: {error}", "Report this.", EXIT_OUR_FAULT
            )
        self.problem = error
        log.error("error[%s]: %s The video ends here; recognition goes on.", error.code, error.message)
        if writer:
            writer.abandon()
