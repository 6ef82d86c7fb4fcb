"""Sources on disk: a video file or a folder of frames. Every frame is given, at the time that the file states."""

from __future__ import annotations

import os
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


@source("file", "", recorded=True, forms=("a path", "file://"))
def open_file(uri: str, options: SourceOptions) -> SequentialSource:
    """The video file or folder of frames at a path. Raises `clip-unreadable`."""
    path = local_path(uri)
    return FolderSource(path, options.roi) if os.path.isdir(path) else VideoSource(path, options.roi)


class FolderSource(SequentialSource):
    """A folder of JPEG or PNG frames in natural order, 8 per second. A broken picture is skipped."""

    def __init__(self, folder: Path, roi: Roi | None = None) -> None:
        super().__init__(str(folder), roi)
        self._pictures = list_pictures(folder)

    @property
    def length_s(self) -> float | None:
        """By the number of pictures."""
        return len(self._pictures) / FOLDER_RATE

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

    @property
    def length_s(self) -> float | None:
        """By the file's header, which may be wrong."""
        duration = self._container.duration  # microseconds
        return duration / 1e6 if duration else None

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._container.close()

    def produce(self) -> Iterator[Frame]:
        """The frames up to the end or to where the file is cut off. Raises `clip-unreadable`."""
        timed = video.timed_frames(self._container, self._stream, self.name)
        for index, (frame, time_s) in enumerate(timed):
            yield Frame(partial(video.upright, frame), time_s, index)
