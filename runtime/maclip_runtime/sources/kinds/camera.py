"""V4L2 cameras on Linux, by number or device."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources.address import scheme_of
from maclip_runtime.sources.connection import Connection, ConnectionLost
from maclip_runtime.sources.ffmpeg import FFmpegConnection
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

# AVFMT_FLAG_NONBLOCK, which the ffmpeg command sets too: a camera that hangs does not hang the reader.
FFMPEG_OPTIONS = {"fflags": "4"}


def _is_camera(uri: str) -> bool:
    return uri.isdecimal() or uri.startswith("/dev/video")


@source("v4l2", live=True, matches=_is_camera, forms=("0", "/dev/video0", "v4l2:///dev/video0"))
def open_camera(uri: str, options: SourceOptions) -> LiveSource:
    """The camera `0`, `/dev/video0` or `v4l2:///dev/video0`. Raises `source-unknown`, `source-lost`."""
    if sys.platform != "linux":
        raise MaclipError(
            "source-unknown", "Cameras by number or device are supported on Linux only.", "Give a file or an address."
        )
    device = uri
    if scheme_of(uri) == "v4l2":
        device = unquote(urlsplit(uri).path)
    elif uri.isdecimal():
        device = f"/dev/video{int(uri)}"
    return LiveSource(device, partial(_connect, device, options.patience_s), options=options)


def _connect(device: str, stall_s: float, open_s: float) -> Connection:
    if not Path(device).exists():
        raise ConnectionLost("is not there")
    return FFmpegConnection(device, "v4l2", dict(FFMPEG_OPTIONS), open_s, stall_s)
