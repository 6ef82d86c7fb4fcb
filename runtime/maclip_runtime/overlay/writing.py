"""A video file that is whole under its name, and playable as far as it came where the program is killed."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.video import reason

if TYPE_CHECKING:
    from av.video import VideoStream

CODECS = ("libx264", "libopenh264", "mpeg4")  # the first one that this FFmpeg has
TIME_BASE = Fraction(1, 1000)  # s; MPEG-4 has 16 bits for it
KEY_FRAMES = 60  # frames between two that stand alone: what a kill costs at most
QUALITY = {"libx264": {"preset": "superfast", "crf": "23"}}
BITS = 0.15  # a pixel and frame, where the codec takes no quality
NOMINAL_RATE = 25  # frames a second, for codecs that want one; the real times are kept
CONTAINERS = {
    # Written in fragments, and made an ordinary file at the end.
    ".mp4": {"movflags": "+hybrid_fragmented+frag_keyframe", "flush_packets": "1"},
    ".mkv": {"flush_packets": "1"},
}


class VideoWriter:
    """Writes frames at their times to NAME.part.mp4, and renames it to `path` when closed.

    `width` and `height` are even. Raises `output-unwritable` here and in each method.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        import av

        check_path(path)
        self.path = path
        self.part = path.with_name(f"{path.stem}.part{path.suffix}")
        self._last = -1
        try:
            self._container = av.open(f"file:{self.part}", "w", container_options=CONTAINERS[path.suffix.lower()])
            name = next(codec for codec in CODECS if codec in av.codec.codecs_available)
            # No frames that need a later one: a file in fragments could not say by how much they shift the first.
            options = {"g": str(KEY_FRAMES), "bf": "0", **QUALITY.get(name, {})}
            stream = cast("VideoStream", self._container.add_stream(name, rate=NOMINAL_RATE, options=options))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = TIME_BASE
            stream.codec_context.thread_count = 1  # the other cores are for recognition
            if name not in QUALITY:
                stream.bit_rate = int(width * height * NOMINAL_RATE * BITS)
            self._stream = stream
        except OSError as error:
            raise _unwritable(path, reason(error)) from error

    def write(self, pixels: Pixels, time_s: float) -> None:
        """Add uint8 [height, width, 3] RGB, shown at `time_s`; times that do not grow are moved by 1 ms."""
        import av

        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last = max(round(time_s / TIME_BASE), self._last + 1)
        frame.pts, frame.time_base = self._last, TIME_BASE
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise _unwritable(self.path, reason(error)) from error

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            os.replace(self.part, self.path)
        except OSError as error:
            raise _unwritable(self.path, reason(error)) from error

    def abandon(self) -> None:
        """Let go after an error. What was written stays under the name `part`, playable as far as it came."""
        with suppress(OSError):
            self._container.close()


def check_path(path: Path) -> None:
    """Raises `output-unwritable` where no video can be written to `path`, which may be there already."""
    if path.suffix.lower() not in CONTAINERS:
        raise _unwritable(path, "its name does not end in .mp4 or .mkv")
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    if not path.parent.is_dir():
        raise _unwritable(path, "its folder does not exist")
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, "its folder may not be written to")


def _unwritable(path: Path, why: str) -> MaclipError:
    return MaclipError(
        "output-unwritable", f"{path} cannot be written ({why}).", "Give a name that ends in .mp4, where there is room."
    )
