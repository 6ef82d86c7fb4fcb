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
from maclip_runtime.reading.times import length_s, timed

if TYPE_CHECKING:
    import av.container
    import av.packet
    import av.video

# A file may open no other protocol and no other format; `mov` follows references only on request.
FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(VIDEO_FORMATS)}
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"file ", b"<?xml", b"<MPD", b"v=0")
IN_DECODING_ORDER = {"avi", "asf", "asf_o"}  # formats that do not say when a frame is shown
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
            return bounded(stream, name)
    raise unreadable(name, "has no video track (sound only, or a codec that cannot be decoded)")


def bounded(stream: av.video.VideoStream, name: object) -> av.video.VideoStream:
    """The stream, whose decoder refuses frames above MAX_PIXELS. Raises `video-too-large`."""
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


def timed_frames(
    container: av.container.InputContainer, stream: av.video.VideoStream, name: object
) -> Iterator[tuple[av.video.VideoFrame, float]]:
    """Every frame that can be decoded, with its time in seconds, up to the end or to where the file is cut off.

    Raises `clip-unreadable` where there is none.
    """
    import av

    def stamped() -> Iterator[tuple[av.video.VideoFrame, float | None]]:
        read = False
        try:
            for frame in decode(container, stream):
                read = True
                yield frame, stamp_s(container, frame)
        except (av.error.FFmpegError, OSError) as error:
            if not read:
                raise unreadable(name, f"cannot be decoded ({reason(error)})") from error
        if not read:
            raise unreadable(name, "holds no frame that can be decoded")

    yield from timed(stamped(), 1 / rate(stream))


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


def extent(container: av.container.InputContainer, stream: av.video.VideoStream) -> tuple[int, float]:
    """How many frames the packets hold, without decoding, and how many seconds they last.

    What can be read counts; the durations in headers are those of the longest track, of a part that was cut off, or
    nobody's. May be slightly too many.
    """
    import av

    stamps: list[float | None] = []
    try:
        for packet in container.demux(stream):
            # Packets before the start of an edit list are decoded but not shown.
            if packet.size > 0 and not packet.is_discard:
                stamps.append(None if packet.dts is None else float(packet.dts * packet.time_base))
    except (av.error.FFmpegError, OSError):
        pass  # truncated: the packets before still count
    step_s = 1 / rate(stream)
    last_s = max((time_s for _, time_s in timed(((None, stamp) for stamp in stamps), step_s)), default=0.0)
    return len(stamps), length_s(last_s, len(stamps), step_s)


def stamp_s(container: av.container.InputContainer, frame: av.video.VideoFrame) -> float | None:
    """When a frame is shown, in seconds of the file's own clock; None where the file does not say.

    AVI and ASF stamp packets in decoding order, and FFmpeg hands each stamp out as the time of the packet's frame.
    """
    stamp = frame.pts if frame.pts is not None and container.format.name not in IN_DECODING_ORDER else frame.dts
    return None if stamp is None or frame.time_base is None else float(stamp * frame.time_base)


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


def rate(stream: av.video.VideoStream) -> float:
    """The container's frames per second; `DEFAULT_RATE` where it gives none."""
    average: Fraction | None = stream.average_rate
    return float(average) if average else DEFAULT_RATE


def reason(error: Exception) -> str:
    """FFmpeg's message, without the address that PyAV adds."""
    return str(getattr(error, "strerror", None) or type(error).__name__)


def why_not(error: Exception) -> str:
    """Why something could not be opened; for a format that is not in the list FFmpeg only says "Invalid argument"."""
    import av

    return "its format is not read as video" if isinstance(error, av.error.ArgumentError) else reason(error)


def _refusal(path: Path, error: Exception) -> str:
    """Why a file could not be opened, as the rest of a sentence."""
    with suppress(OSError), path.open("rb") as file:
        if file.read(16).startswith(PLAYLIST_STARTS):
            return "is a playlist, which may open other files"
    if getattr(error, "errno", None) == EINVAL:  # FFmpeg's error for formats that are not in the list
        return "has a format that is not read as video"
    return f"cannot be read as video ({reason(error)})"
