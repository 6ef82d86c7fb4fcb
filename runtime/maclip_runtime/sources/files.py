"""Sources on disk: a video file, a folder of frames. Each frame counts, at the time the file gives it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading import video
from maclip_runtime.reading.pictures import FOLDER_RATE, list_pictures, read_picture
from maclip_runtime.sources.base import FileSource, Frame
from maclip_runtime.sources.options import Roi

# A stamp that goes back further than this begins another recording (files that were joined); less is disorder.
JUMP_SECONDS = 0.5


class FolderSource(FileSource):
    """A folder of JPEG or PNG frames in natural order, 8 a second. A broken picture is left out."""

    def __init__(self, folder: Path, roi: Roi | None = None) -> None:
        super().__init__(str(folder), roi)
        self._pictures = list_pictures(folder)

    def _produce(self) -> Iterator[Frame]:
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
        """Nothing is held open: each picture is closed once it is read."""


class VideoSource(FileSource):
    """A video file, read once. Raises `clip-unreadable`."""

    def __init__(self, path: Path, roi: Roi | None = None) -> None:
        super().__init__(str(path), roi)
        self._container, self._stream = video.open_file(path)

    def close(self) -> None:
        """Let go of the file."""
        super().close()
        self._container.close()

    def _produce(self) -> Iterator[Frame]:
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
    """A file's stamps as seconds since its first frame, never going back; `step_s` where there is no stamp."""

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
