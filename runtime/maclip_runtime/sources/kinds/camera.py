"""V4L2 cameras on Linux, by number or device."""

from __future__ import annotations

import stat
import sys
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources.address import local_path, scheme_of
from maclip_runtime.sources.connection import Connection, ConnectionLost
from maclip_runtime.sources.ffmpeg import FFmpegConnection
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

# AVFMT_FLAG_NONBLOCK, which the ffmpeg command sets too: a camera that hangs does not hang the reader.
FFMPEG_OPTIONS = {"fflags": "4"}


def _is_camera(uri: str) -> bool:
    """Whether a path is a camera is decided by what is there, also at the end of a link (/dev/v4l/by-id/...)."""
    path = local_path(uri)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing is there; a camera may be plugged in later
        return uri.isdecimal() or uri.startswith(("/dev/video", "/dev/v4l/"))
    return stat.S_ISCHR(mode)


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
    elif uri.isdecimal() and not Path(uri).exists():
        device = f"/dev/video{int(uri)}"
    else:
        device = str(local_path(uri))
    return LiveSource(device, partial(_connect, device, options.patience_s), options=options)


def _connect(device: str, stall_s: float, open_s: float) -> Connection:
    if not Path(device).exists():
        raise ConnectionLost("is not there")
    return FFmpegConnection(device, "v4l2", dict(FFMPEG_OPTIONS), open_s, stall_s)
