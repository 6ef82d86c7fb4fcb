"""The overlay as a listener: frames and what was known with them go to a thread that draws and encodes."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from types import TracebackType

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.errors import MaclipError
from maclip_runtime.overlay.drawing import Painter
from maclip_runtime.overlay.scene import Scene, Story
from maclip_runtime.overlay.writing import VideoWriter, check_path
from maclip_runtime.sources import Frame, is_live, local_path

log = logging.getLogger("maclip")

WAITING_FRAMES = 8  # for the encoder; a frame of 1920 x 1080 is 6 MB
CLOSE_SECONDS = 10.0


class Overlay(Callbacks):
    """Writes what is watched, with labels and a timeline drawn on, to `path` (.mp4 or .mkv).

    Of several sources the first that gives a frame is written to NAME.mp4, the next to NAME-2.mp4 and so on. A file
    waits for the encoder; of a live source frames are dropped, and counted. A disk that is full ends the video, not
    recognition: `problem` says so. Raises `output-unwritable`, also where `path` is one of `sources`.
    """

    def __init__(self, path: str | PathLike[str], sources: Sequence[str] = ()) -> None:
        self._path = Path(path)
        check_path(self._path)
        _spare(sources, [self._numbered(number) for number in range(1, len(sources) + 1)])
        self._stories: dict[str, Story] = {}
        self._recordings: dict[str, _Recording] = {}
        self._closed = False

    def __enter__(self) -> Overlay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Where it is written."""
        return str(self._path)

    @property
    def dropped(self) -> int:
        """Frames that are in no video: the encoder was too slow for them, or had failed."""
        return sum(recording.dropped for recording in self._recordings.values())

    @property
    def problem(self) -> MaclipError | None:
        """What ended a video early; None where nothing did."""
        return next((found.problem for found in self._recordings.values() if found.problem), None)

    def frame(self, source: str, frame: Frame) -> None:
        """A frame to be drawn on, with what is known by now."""
        if self._closed:
            return
        if source not in self._recordings:
            path = self._numbered(len(self._recordings) + 1)
            self._recordings[source] = _Recording(source, path, is_live(source))
        if frame.restarted:
            self._story(source).restarted(frame.time_s)
        self._recordings[source].put(frame, self._story(source).scene)

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """An answer for the timeline."""
        self._story(source).verdict(verdict, start_s, end_s)

    def event(self, event: Event) -> None:
        """An event for the label and the timeline."""
        self._story(event.source).event(event)

    def close(self) -> None:
        """Finish the videos and say what became of them. Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            for recording in self._recordings.values():
                recording.close()

    def _story(self, source: str) -> Story:
        return self._stories.setdefault(source, Story())

    def _numbered(self, number: int) -> Path:
        return self._path if number == 1 else self._path.with_stem(f"{self._path.stem}-{number}")


def _spare(sources: Sequence[str], targets: Sequence[Path]) -> None:
    """Raises `output-unwritable` where a target is a source: it would be replaced."""
    for source in sources:
        path = None if is_live(source) else local_path(source)
        for target in targets:
            if path and path.exists() and target.exists() and target.samefile(path):
                raise MaclipError("output-unwritable", f"{target} is a source.", "Give another name to write to.")


class _Recording:
    """One source's video and the thread that makes it."""

    def __init__(self, source: str, path: Path, live: bool) -> None:
        self.dropped = 0
        self.problem: MaclipError | None = None
        self._source = source
        self._path = path
        self._live = live
        self._written = 0
        self._queue: queue.Queue[tuple[Frame, Scene] | None] = queue.Queue(WAITING_FRAMES)
        self._thread = threading.Thread(target=self._run, name=f"overlay {path.name}", daemon=True)
        self._thread.start()

    def put(self, frame: Frame, scene: Scene) -> None:
        if self._live and self._queue.full():
            self.dropped += 1
            return
        _ = frame.pixels  # made here: the recogniser's thread may make them too, and FFmpeg bears only one at a time
        self._queue.put((frame, scene))

    def close(self) -> None:
        with suppress(queue.Full):  # it hangs, as the next lines find
            self._queue.put(None, timeout=CLOSE_SECONDS)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            log.error("%s: the disk does not answer, the video is not finished", self._path)
        elif self._written and not self.problem:
            log.info("saved %s: %d frames of %s, %d dropped", self._path, self._written, self._source, self.dropped)

    def _run(self) -> None:
        painter: Painter | None = None
        writer: VideoWriter | None = None
        while (item := self._queue.get()) is not None:
            if self.problem:
                self.dropped += 1  # taken all the same: a file's reader waits for room
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
        if not isinstance(error, MaclipError):  # a fault of ours must not leave the reader waiting for room
            error = MaclipError("overlay-failed", f"{self._path}: {type(error).__name__}: {error}", "Report this.", 1)
        self.problem = error
        log.error("error[%s]: %s The video ends here; recognition goes on.", error.code, error.message)
        if writer:
            writer.abandon()
