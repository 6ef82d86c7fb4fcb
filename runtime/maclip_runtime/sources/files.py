"""Sources on disk: a video file, a folder of frames. Each frame counts, at the time the file gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from maclip_runtime import video
from maclip_runtime.errors import MaclipError
from maclip_runtime.folders import FOLDER_RATE, list_pictures, read_picture
from maclip_runtime.sources.base import FileSource, Frame

if TYPE_CHECKING:
    import av.container
    import av.video


class FolderSource(FileSource):
    """A folder of JPEG or PNG frames in natural order, 8 a second. A broken picture is left out."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
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
    """Anything FFmpeg reads: a file, a camera, an address. Can be iterated once."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.video.VideoStream,
        name: str,
        live: bool = False,
    ) -> None:
        super().__init__(name)
        self.live = live
        self._container = container
        self._stream = stream

    def close(self) -> None:
        """Let go of the file, camera or connection."""
        self._container.close()

    def _produce(self) -> Iterator[Frame]:
        import av

        rate = video.rate(self._stream)
        first: float | None = None
        time_s, index = 0.0, 0
        try:
            for frame in video.decode(self._container, self._stream):
                stamp = frame.time if frame.time is not None else index / rate
                first = stamp if first is None else first
                time_s = max(time_s, stamp - first)  # a clock that jumps back must not reorder frames
                yield Frame(video.upright(frame), time_s, index)
                index += 1
        except (av.error.FFmpegError, OSError) as error:
            if self.live:
                raise lost(self.name, f"stopped sending ({video.reason(error)})") from error
            if not index:
                raise video.unreadable(self.name, f"cannot be decoded ({video.reason(error)})") from error
        if not index:
            raise video.unreadable(self.name, "holds no frame that can be decoded")


def lost(name: str, why: str) -> MaclipError:
    """The error `source-lost` for a camera or address; `why` continues the sentence."""
    return MaclipError("source-lost", f"{name} {why}.", "Check that the camera is on and its address is right.")
