"""Video through FFmpeg (PyAV): open safely, skip broken packets, rotate frames upright.

All code that reads a container uses this module. `av` is imported on first use, so that importing the package is fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from errno import EINVAL
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import PICTURE_NAMES, VIDEO_FORMATS
from maclip_runtime.reading.frames import Pixels

if TYPE_CHECKING:
    import av.container
    import av.packet
    import av.video

# A file may open no other protocol and no other format; `mov` follows references only on request.
FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(VIDEO_FORMATS)}
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"file ", b"<?xml", b"<MPD", b"v=0")
DEFAULT_RATE = 25.0  # frames per second, where a container gives none
MAX_PIXELS = 40_000_000  # of one frame: 8K video and the decoder's padding

Orientation = tuple[bool, bool, bool]  # transpose, then flip rows, then flip columns
UPRIGHT: Orientation = (False, False, False)


def unreadable(path: object, why: str) -> MaclipError:
    """The error `clip-unreadable` for `path`; `why` continues the sentence."""
    return MaclipError(
        "clip-unreadable",
        f"{path} {why}.",
        f"Give a video file, or a folder of frames ({PICTURE_NAMES}).",
    )


def lenient() -> dict[str, Any]:
    """Options of `av.open` that accept metadata that is not UTF-8; PyAV 19 needs none."""
    import av

    return {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_file(path: Path) -> tuple[av.container.InputContainer, av.video.VideoStream]:
    """Open a video file; the caller closes the container. Raises `clip-unreadable`."""
    import av

    try:
        if not path.exists():
            raise unreadable(path, "does not exist")
        if not path.is_file():
            raise unreadable(path, "is not a file")
        if path.stat().st_size == 0:
            raise unreadable(path, "is empty")
        # "file:", so that a name such as "concat:a|b" is not read as a protocol.
        container = av.open(f"file:{path}", container_options=dict(FILE_OPTIONS), **lenient())
    # Most of FFmpeg's errors are also OSErrors or ValueErrors, but not all.
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise unreadable(path, _refusal(path, error)) from error
    try:
        return container, picture_stream(container, path)
    except BaseException:
        container.close()
        raise


def picture_stream(container: av.container.InputContainer, name: object) -> av.video.VideoStream:
    """The container's first video track that is no cover picture. Raises `clip-unreadable` and `video-too-large`."""
    for stream in container.streams.video:
        cover = "attached_pic" in str(getattr(stream, "disposition", "")).lower()
        # A track whose codec FFmpeg lacks has no codec context.
        if not cover and getattr(stream, "codec_context", None) is not None:
            return _bounded(stream, name)
    raise unreadable(name, "has no video track (sound only, or a codec that cannot be decoded)")


def _bounded(stream: av.video.VideoStream, name: object) -> av.video.VideoStream:
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise too_large(name, context.width, context.height)
    # A hostile file of 200 bytes may claim a gigabyte. The decoder rejects frames larger than this.
    context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
    return stream


def too_large(name: object, width: int, height: int) -> MaclipError:
    """The error `video-too-large` for frames of more than `MAX_PIXELS`."""
    return MaclipError(
        "video-too-large",
        f"{name} has frames of {width} x {height}; at most {MAX_PIXELS / 1e6:.0f} million pixels are read.",
        "Give a smaller video; the model uses a few hundred pixels per side.",
    )


def decode(container: av.container.InputContainer, stream: av.video.VideoStream) -> Iterator[av.video.VideoFrame]:
    """Every frame that can be decoded, in presentation order; broken packets are skipped.

    Raises FFmpeg's error only where reading the container fails (it is truncated).
    """
    for packet in container.demux(stream):
        yield from decode_packet(packet)


def decode_packet(packet: av.packet.Packet[Any]) -> Iterator[av.video.VideoFrame]:
    """The frames that a packet completes; none where it is broken."""
    import av

    with suppress(av.error.FFmpegError):
        yield from packet.decode()


def count_packets(container: av.container.InputContainer, stream: av.video.VideoStream) -> int:
    """How many frames the container claims, counted by packets without decoding; may be slightly too many."""
    import av

    count = 0
    try:
        for packet in container.demux(stream):
            # Packets before the start of an edit list are decoded but not shown.
            count += packet.size > 0 and not packet.is_discard
    except (av.error.FFmpegError, OSError):
        pass  # truncated: the packets before still count
    return count


def upright(frame: av.video.VideoFrame) -> Pixels:
    """The frame rotated by its display matrix: uint8 [H, W, 3] RGB."""
    pixels = cast(Pixels, frame.to_ndarray(format="rgb24"))
    transpose, flip_rows, flip_columns = orientation(frame)
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    if flip_rows:
        pixels = pixels[::-1]
    if flip_columns:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def orientation(frame: av.video.VideoFrame) -> Orientation:
    """The rotation and flips of a frame's display matrix, to the nearest quarter turn."""
    import av.sidedata.sidedata as sidedata

    # `frame.side_data` creates a reference cycle with the frame, which keeps its memory until garbage collection.
    container_of: Any = sidedata.SideDataContainer
    side_data = container_of(frame).get("DISPLAYMATRIX")
    if side_data is None:
        return UPRIGHT
    # 3 x 3 row-major, 16.16 fixed point: (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), dtype=np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def duration_s(container: av.container.InputContainer, stream: av.video.VideoStream, frames: int) -> float:
    """The video's length in seconds: what the container gives, else `frames` at its rate."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0:
        return container.duration / 1e6  # microseconds
    return frames / rate(stream)


def rate(stream: av.video.VideoStream) -> float:
    """The container's frames per second; `DEFAULT_RATE` where it gives none."""
    average: Fraction | None = stream.average_rate
    return float(average) if average else DEFAULT_RATE


def reason(error: Exception) -> str:
    """FFmpeg's message, without the address that PyAV adds."""
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _refusal(path: Path, error: Exception) -> str:
    """Why a file could not be opened, as the rest of a sentence."""
    with suppress(OSError), path.open("rb") as file:
        if file.read(16).startswith(PLAYLIST_STARTS):
            return "is a playlist, which may open other files"
    if getattr(error, "errno", None) == EINVAL:  # FFmpeg's error for formats that are not in the list
        return "has a format that is not read as video"
    return f"cannot be read as video ({reason(error)})"
