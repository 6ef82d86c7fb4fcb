"""Write a video file that stays playable up to the last fragment when the program is killed."""

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

CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that this FFmpeg has is used
TIME_BASE = Fraction(1, 1000)  # s; MPEG-4 has 16 bits for it
KEY_FRAME_INTERVAL = 60  # frames; a kill loses at most so many
QUALITY = {"libx264": {"preset": "superfast", "crf": "23"}}
BITS_PER_PIXEL = 0.15  # per frame, for codecs without a quality setting
NOMINAL_RATE = 25  # frames per second, for codecs that need one; frames keep their real times
CONTAINERS = {
    # Written in fragments, and rewritten as an ordinary file at the end.
    ".mp4": {"movflags": "+hybrid_fragmented+frag_keyframe", "flush_packets": "1"},
    ".mkv": {"flush_packets": "1"},
}


class VideoWriter:
    """Writes frames with their times to NAME.part.mp4, which `close` renames to `path`.

    `width` and `height` must be even. Every method raises `output-unwritable`.
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
            # No B-frames: a fragmented file cannot store by how much they delay the first frame.
            options = {"g": str(KEY_FRAME_INTERVAL), "bf": "0", **QUALITY.get(name, {})}
            stream = cast("VideoStream", self._container.add_stream(name, rate=NOMINAL_RATE, options=options))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = TIME_BASE
            stream.codec_context.thread_count = 1  # leave the other cores to recognition
            if name not in QUALITY:
                stream.bit_rate = int(width * height * NOMINAL_RATE * BITS_PER_PIXEL)
            self._stream = stream
        except OSError as error:
            raise _unwritable(path, reason(error)) from error

    def write(self, pixels: Pixels, time_s: float) -> None:
        """Add a frame, uint8 [height, width, 3] RGB, at `time_s`; a time that does not increase is moved by 1 ms."""
        import av

        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last = max(round(time_s / TIME_BASE), self._last + 1)
        frame.pts, frame.time_base = self._last, TIME_BASE
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise _unwritable(self.path, reason(error)) from error

    def close(self) -> None:
        """Finish the file and rename it to `path`."""
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            os.replace(self.part, self.path)
        except OSError as error:
            raise _unwritable(self.path, reason(error)) from error

    def abandon(self) -> None:
        """Close after an error. What was written stays in `part` and is playable."""
        with suppress(OSError):
            self._container.close()


def check_path(path: Path) -> None:
    """Raises `output-unwritable` where no video can be written to `path`, which may already exist."""
    if path.suffix.lower() not in CONTAINERS:
        raise _unwritable(path, "its name does not end in .mp4 or .mkv")
    if os.path.isdir(path):
        raise _unwritable(path, "it is a folder")
    if not os.path.isdir(path.parent):
        raise _unwritable(path, "its folder does not exist")
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a name that is too long
        raise _unwritable(path, str(error.strerror)) from error
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, "its folder is not writable")


def _unwritable(path: Path, why: str) -> MaclipError:
    return MaclipError(
        "output-unwritable",
        f"{path} cannot be written ({why}).",
        "Give a path that ends in .mp4, on a disk with free space.",
    )
