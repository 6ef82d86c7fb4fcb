"""Opening a source by its name."""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maclip_runtime import video
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources.address import NETWORK_PROTOCOLS, local_path, redact, scheme_of
from maclip_runtime.sources.base import Source
from maclip_runtime.sources.files import FolderSource, VideoSource, lost

OPEN_SECONDS = 10.0  # how long an address may take to answer
READ_SECONDS = 10.0  # how long it may then stay silent


def open_source(uri: str | PathLike[str] | int) -> Source:
    """Open a video file, a folder of frames (8 a second), a camera or an address.

    A camera is `0`, `/dev/video0` or `v4l2:///dev/video0`; an address `rtsp://`, `rtsps://`, `http://` or
    `https://`; `file://` is a file. Raises `clip-unreadable` for files and folders, `source-lost` for a
    camera or address that does not answer, `source-unknown` for another scheme.
    """
    text = str(uri)
    scheme = scheme_of(text)
    if scheme in NETWORK_PROTOCOLS:
        return _open_network(text, scheme)
    if scheme == "v4l2":
        return _open_camera(unquote(urlsplit(text).path))
    if text.isdecimal():
        return _open_camera(f"/dev/video{int(text)}")
    if text.startswith("/dev/video"):
        return _open_camera(text)
    if scheme not in {"", "file"}:
        known = ", ".join(f"{name}://" for name in ("file", "v4l2", *NETWORK_PROTOCOLS))
        raise MaclipError("source-unknown", f"{redact(text)} is not a source maclip knows.", f"Use {known} or a path.")
    path = local_path(text)
    if path.is_dir():
        return FolderSource(path)
    return VideoSource(*video.open_file(path), name=str(path))


def _open_network(uri: str, scheme: str) -> Source:
    options = {"protocol_whitelist": NETWORK_PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # UDP loses packets at the first busy moment
    return _open_live(uri, None, options)


def _open_camera(device: str) -> Source:
    if sys.platform != "linux":
        raise MaclipError("source-unknown", "Cameras by number are read on Linux only.", "Give a file or an address.")
    if not Path(device).exists():
        raise lost(device, "is not there")
    return _open_live(device, "v4l2", {})


def _open_live(uri: str, kind: str | None, options: dict[str, str]) -> Source:
    import av

    name = redact(uri)
    try:
        container = av.open(
            uri,
            format=kind,
            container_options=options,
            timeout=(OPEN_SECONDS, READ_SECONDS),
            **video.lenient(),
        )
    except (OSError, ValueError) as error:
        # `from None`: PyAV's own message repeats the address with its password.
        raise lost(name, f"cannot be opened ({video.reason(error)})") from None
    try:
        return VideoSource(container, video.picture_stream(container, name), name, live=True)
    except BaseException:
        container.close()
        raise
