"""Opening a source by its address."""

from __future__ import annotations

from os import PathLike

from maclip_runtime.sources.base import Source
from maclip_runtime.sources.options import DEFAULTS, SourceOptions
from maclip_runtime.sources.registry import SOURCES


def open_source(uri: str | PathLike[str] | int, options: SourceOptions | None = None) -> Source:
    """Open a video file, a folder of frames, a camera or a network stream.

    A video or a folder (8 frames per second) is a path or `file://`. A camera is `0`, `/dev/video0` or
    `v4l2:///dev/video0`, on a Jetson `csi://0`. A stream is `rtsp://`, `rtsps://`, `http://` or `https://` (MJPEG,
    HLS, or a recording, which is played at its own pace). Other kinds are registered with `@source`.
    Cameras and streams are live: they give the newest frame and reconnect by themselves.

    uri: the address; an integer is a camera's number.
    options: patience and region of interest; default: `SourceOptions()`.

    Raises `source-unknown`; `clip-unreadable` for a file or folder; `source-lost` for a live source that does not
    answer (with `options.wait` it returns at once instead); `device-missing` where the machine lacks what the camera
    needs; `source-missing` where the package that provides the scheme cannot be loaded.
    """
    return SOURCES.find(str(uri)).open(str(uri), options or DEFAULTS)


def is_live(uri: str | PathLike[str] | int) -> bool:
    """Whether `uri` names a camera or a stream rather than something on disk. Raises `source-missing`."""
    kind = SOURCES.get(str(uri))
    return kind is not None and kind.live
