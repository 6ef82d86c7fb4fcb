"""Pictures of results: a few frames of a part of a video, side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading import video
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.pictures import FOLDER_RATE, list_pictures, read_picture
from maclip_runtime.reading.quality import strip
from maclip_runtime.sources import Frame, open_source, scheme_of

STRIP_FRAMES = 8
STRIP_HEIGHT = 96  # px
STRIP_QUALITY = 82  # JPEG


def strip_of(path: str, start_s: float, end_s: float) -> bytes | None:
    """A JPEG of frames evenly spaced from `start_s` to `end_s` of a video, a folder or a bag; None if unreadable."""
    from PIL import Image

    wanted = start_s + (np.arange(STRIP_FRAMES) + 0.5) / STRIP_FRAMES * (end_s - start_s)
    try:
        frames = list(_frames(path, wanted))
    except (MaclipError, OSError, ValueError):
        return None
    if not frames:
        return None
    buffer = io.BytesIO()
    Image.fromarray(strip(np.stack(frames), STRIP_HEIGHT)).save(buffer, "JPEG", quality=STRIP_QUALITY)
    return buffer.getvalue()


def _frames(path: str, wanted: np.ndarray) -> Iterator[Pixels]:
    if scheme_of(path) == "bag":
        return _of_source(path, wanted)
    place = Path(path)
    return _of_folder(place, wanted) if place.is_dir() else _of_file(place, wanted)


def _of_source(uri: str, wanted: np.ndarray) -> Iterator[Pixels]:
    """The frames shown at the wanted times, of a source that is read from its beginning."""
    left: list[float] = wanted.tolist()
    with open_source(uri) as source:
        shown: Frame | None = None
        for frame in source:
            while left and shown is not None and frame.time_s > left[0]:
                yield shown.pixels
                left.pop(0)
            if not left:
                return
            shown = frame
        if shown is not None:  # to the end
            yield from [shown.pixels] * len(left)


def _of_folder(folder: Path, wanted: np.ndarray) -> Iterator[Pixels]:
    pictures = list_pictures(folder)
    for time_s in wanted.tolist():
        yield read_picture(pictures[min(len(pictures) - 1, int(time_s * FOLDER_RATE))])


def _of_file(path: Path, wanted: np.ndarray) -> Iterator[Pixels]:
    """The frames shown at the wanted times, decoded from the key frame before the first of them on."""
    import av

    container, stream = video.open_file(path)
    with container, suppress(av.error.FFmpegError):
        first = stream.start_time
        zero_s = float(first * stream.time_base) if first is not None and stream.time_base else 0.0
        if first is not None and stream.time_base:
            container.seek(int((wanted[0] + zero_s) / stream.time_base), stream=stream, backward=True)
        left: list[float] = wanted.tolist()
        shown: av.VideoFrame | None = None
        for frame in video.decode(container, stream):
            stamp = video.stamp_s(container, frame)
            time_s = 0.0 if stamp is None else stamp - zero_s
            while left and shown is not None and time_s > left[0]:
                yield video.upright(shown)
                left.pop(0)
            if not left:
                return
            shown = frame
        if shown is not None:  # to the end
            yield from [video.upright(shown)] * len(left)
