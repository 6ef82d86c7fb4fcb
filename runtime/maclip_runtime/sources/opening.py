"""Opening a source by its name."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.video import NETWORK_FORMATS
from maclip_runtime.sources.address import NETWORK_PROTOCOLS, local_path, redact, scheme_of
from maclip_runtime.sources.base import Source
from maclip_runtime.sources.csi import connect_csi
from maclip_runtime.sources.ffmpeg import Connection, ConnectionLost, FFmpegConnection, NoPicture
from maclip_runtime.sources.files import FolderSource, VideoSource
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import DEFAULTS, SourceOptions

SCHEMES = ("file", "v4l2", "csi", *NETWORK_PROTOCOLS)
# The frame rate is not measured before the first frame is given: that took most of a second.
NETWORK_OPTIONS = {"fpsprobesize": "0", "format_whitelist": ",".join(NETWORK_FORMATS)}
# TCP first: UDP loses packets at the first busy moment. A camera that has only UDP is read so.
RTSP_OPTIONS = {"rtsp_flags": "prefer_tcp"}
# An RTSP server says what it sends before it does. To look at the pictures too would wait for a key frame or two.
UNPROBED = {"probesize": "32", "analyzeduration": "0"}
# AVFMT_FLAG_NONBLOCK, as ffmpeg itself asks for: a camera that hangs does not hang the reader.
CAMERA_OPTIONS = {"fflags": "4"}


def open_source(uri: str | PathLike[str] | int, options: SourceOptions = DEFAULTS) -> Source:
    """Open a video file, a folder of frames (8 a second), a camera or an address.

    A camera is `0`, `/dev/video0` or `v4l2:///dev/video0`, on a Jetson `csi://0`; an address `rtsp://`, `rtsps://`,
    `http://` or `https://` (MJPEG, HLS, a recording, which is then given at its own pace); `file://` is a file.
    Cameras and addresses are live: they give the newest frame and connect again by themselves, see `SourceOptions`.

    Raises `clip-unreadable` for files and folders, `source-lost` for a camera or address that does not answer
    (not with `options.wait`, which returns at once), `source-unknown` for another scheme, `device-missing` where
    the machine lacks what the camera needs.
    """
    text = str(uri)
    scheme = scheme_of(text)
    if scheme in NETWORK_PROTOCOLS:
        return LiveSource(redact(text), partial(_connect_network, text, scheme, options.stall_s), options)
    if scheme == "v4l2":
        return _open_camera(unquote(urlsplit(text).path), options)
    if scheme == "csi":
        return _open_csi(text, options)
    if text.isdecimal():
        return _open_camera(f"/dev/video{int(text)}", options)
    if text.startswith("/dev/video"):
        return _open_camera(text, options)
    if scheme not in {"", "file"}:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise MaclipError("source-unknown", f"{redact(text)} is not a source maclip knows.", f"Use {known} or a path.")
    path = local_path(text)
    if path.is_dir():
        return FolderSource(path, options.roi)
    return VideoSource(path, options.roi)


def _open_camera(device: str, options: SourceOptions) -> Source:
    if sys.platform != "linux":
        raise MaclipError("source-unknown", "Cameras by number are read on Linux only.", "Give a file or an address.")
    return LiveSource(device, partial(_connect_camera, device, options.stall_s), options)


def _open_csi(uri: str, options: SourceOptions) -> Source:
    sensor = uri.partition("://")[2].strip("/")
    if not sensor.isdecimal():
        raise MaclipError("source-unknown", f"{uri} names no camera.", "Give its number: csi://0.")
    return LiveSource(f"csi://{int(sensor)}", partial(connect_csi, int(sensor)), options)


def _connect_network(uri: str, scheme: str, stall_s: float, open_s: float) -> Connection:
    options = {**NETWORK_OPTIONS, "protocol_whitelist": NETWORK_PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options |= RTSP_OPTIONS
        with suppress(NoPicture):  # MPEG-TS inside RTSP shows its pictures only as it is read
            return FFmpegConnection(uri, None, {**options, **UNPROBED}, open_s, stall_s)
        return FFmpegConnection(uri, None, options, open_s, stall_s)
    return FFmpegConnection(uri, None, options, open_s, stall_s, paced=True)


def _connect_camera(device: str, stall_s: float, open_s: float) -> Connection:
    if not Path(device).exists():
        raise ConnectionLost("is not there")
    return FFmpegConnection(device, "v4l2", dict(CAMERA_OPTIONS), open_s, stall_s)
