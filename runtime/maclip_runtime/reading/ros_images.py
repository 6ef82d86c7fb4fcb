"""Pictures in ROS messages, `sensor_msgs/Image` and `CompressedImage`, as RGB. ROS itself is not needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.pictures import decode_picture
from maclip_runtime.reading.video import MAX_PIXELS, too_large, unreadable

# Bytes a pixel, and which of them are red, green and blue. OpenCV's own names, such as 8UC3, mean BGR.
PACKED: dict[str, tuple[int, list[int]]] = {
    "rgb8": (3, [0, 1, 2]),
    "bgr8": (3, [2, 1, 0]),
    "8uc3": (3, [2, 1, 0]),
    "rgba8": (4, [0, 1, 2]),
    "bgra8": (4, [2, 1, 0]),
    "8uc4": (4, [2, 1, 0]),
    "mono8": (1, [0, 0, 0]),
    "8uc1": (1, [0, 0, 0]),
}
GREY_16 = "mono16"
# What FFmpeg calls the other encodings, and their bytes a pixel.
CONVERTED: dict[str, tuple[str, int]] = {
    "yuv422": ("uyvy422", 2),
    "uyvy": ("uyvy422", 2),
    "yuv422_yuy2": ("yuyv422", 2),
    "yuyv": ("yuyv422", 2),
    **{f"bayer_{order}8": (f"bayer_{order}8", 1) for order in ("rggb", "bggr", "gbrg", "grbg")},
}


def picture_of(message: Any, name: object) -> Pixels | Callable[[], Pixels]:
    """The picture of a message, uint8 [H, W, 3] RGB, or a function that returns it where converting can wait.

    message: an `Image` or a `CompressedImage`, of rclpy, rospy or rosbags.
    name: where it comes from, for errors.

    Raises `clip-encoding-unknown` for an encoding that is no colour or grey picture of 8 or 16 bits, `clip-unreadable`
    for a damaged message, `video-too-large`.
    """
    if hasattr(message, "encoding"):
        return _raw(message, name)
    if "compressedDepth" in message.format:
        raise _unknown(name, message.format)
    return decode_picture(bytes(memoryview(message.data)), name)


def _raw(message: Any, name: object) -> Callable[[], Pixels]:
    width, height, step = int(message.width), int(message.height), int(message.step)
    encoding = str(message.encoding).lower()
    if encoding in PACKED:
        size = PACKED[encoding][0]
    elif encoding in CONVERTED:
        size = CONVERTED[encoding][1]
    elif encoding == GREY_16:
        size = 2
    else:
        raise _unknown(name, str(message.encoding))
    if width * height > MAX_PIXELS:
        raise too_large(name, width, height)
    data: Pixels = np.frombuffer(message.data, np.uint8)
    if min(width, height) < 1 or step < width * size or len(data) < step * height:
        raise unreadable(name, "has a picture with fewer bytes than its size needs")
    rows = data[: step * height].reshape(height, step)[:, : width * size]
    if encoding in PACKED:
        return partial(_packed, rows, width, *PACKED[encoding])
    if encoding == GREY_16:
        high = 0 if message.is_bigendian else 1
        return partial(_packed, rows, width, 2, [high] * 3)
    return partial(_converted, rows, width, CONVERTED[encoding][0])


def _packed(rows: Pixels, width: int, size: int, order: list[int]) -> Pixels:
    """Rows of `size` bytes a pixel as RGB, with the bytes in `order`."""
    return rows.reshape(len(rows), width, size)[:, :, order]


def _converted(rows: Pixels, width: int, pixels: str) -> Pixels:
    """Rows in one of FFmpeg's formats as RGB."""
    import av

    frame = av.VideoFrame(width, len(rows), pixels)
    plane = frame.planes[0]
    padded = np.zeros((len(rows), plane.line_size), np.uint8)
    padded[:, : rows.shape[1]] = rows
    plane.update(padded.tobytes())
    return cast(Pixels, frame.to_ndarray(format="rgb24"))


def _unknown(name: object, encoding: str) -> MaclipError:
    return MaclipError(
        "clip-encoding-unknown",
        f"{name} has pictures in the encoding {encoding!r}, which cannot be shown as colours.",
        f"Give a topic in {', '.join(one for one in (*PACKED, GREY_16, *CONVERTED) if 'uc' not in one)}, or "
        "compressed as JPEG or PNG.",
    )
