"""Sources on disk: a video file or a folder of frames. Every frame is given, at the time that the file states."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading import video
from maclip_runtime.reading.pictures import FOLDER_RATE, list_pictures, read_picture
from maclip_runtime.sources.address import local_path
from maclip_runtime.sources.base import Frame, SequentialSource
from maclip_runtime.sources.options import Roi, SourceOptions
from maclip_runtime.sources.registry import source

# A stamp that goes back further than this starts another recording (files that were joined); less is disorder.
JUMP_SECONDS = 0.5


@source("file", "", forms=("a path", "file://"))
def open_file(uri: str, options: SourceOptions) -> SequentialSource:
    """The video file or folder of frames at a path. Raises `clip-unreadable`."""
    path = local_path(uri)
    return FolderSource(path, options.roi) if path.is_dir() else VideoSource(path, options.roi)


class FolderSource(SequentialSource):
    """A folder of JPEG or PNG frames in natural order, 8 per second. A broken picture is skipped."""

    def __init__(self, folder: Path, roi: Roi | None = None) -> None:
        super().__init__(str(folder), roi)
        self._pictures = list_pictures(folder)

    def produce(self) -> Iterator[Frame]:
        """The pictures that can be read. Raises `clip-unreadable` where there is none."""
        read = 0
        for place, picture in enumerate(self._pictures):
            try:
                pixels = read_picture(picture)
            except MaclipError:
                continue
            yield Frame(pixels, place / FOLDER_RATE, read)
            read += 1
        if not read:
            raise video.unreadable(self.name, "holds no readable picture")

    def close(self) -> None:
        """Nothing to close: each picture is closed once it is read."""


class VideoSource(SequentialSource):
    """A video file, read once. Raises `clip-unreadable`."""

    def __init__(self, path: Path, roi: Roi | None = None) -> None:
        super().__init__(str(path), roi)
        self._container, self._stream = video.open_file(path)

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._container.close()

    def produce(self) -> Iterator[Frame]:
        """The frames up to the end or to the first packet that cannot be decoded. Raises `clip-unreadable`."""
        import av

        times = _Times(1 / video.rate(self._stream))
        index = 0
        try:
            for frame in video.decode(self._container, self._stream):
                yield Frame(partial(video.upright, frame), times.next(frame.time), index)
                index += 1
        except (av.error.FFmpegError, OSError) as error:
            if not index:
                raise video.unreadable(self.name, f"cannot be decoded ({video.reason(error)})") from error
        if not index:
            raise video.unreadable(self.name, "holds no frame that can be decoded")


class _Times:
    """Turns a file's stamps into seconds since its first frame that never go back; steps by `step_s` without stamps."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._zero: float | None = None  # the stamp that counts as time 0
        self._last_s: float | None = None

    def next(self, stamp: float | None) -> float:
        following = 0.0 if self._last_s is None else self._last_s + self._step_s
        time_s = following
        if stamp is not None:
            if self._zero is None or stamp - self._zero < (self._last_s or 0.0) - JUMP_SECONDS:
                self._zero = stamp - following
            time_s = stamp - self._zero
        self._last_s = max(time_s, self._last_s or 0.0)
        return self._last_s
