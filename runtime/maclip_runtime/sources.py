"""Where frames come from: `open_source(uri)` gives upright RGB frames with times, in order, one at a time.

A source is a file, a folder of frames, a camera or an address; it holds one frame at a time, never a clip.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from maclip_runtime import video
from maclip_runtime.errors import MaclipError
from maclip_runtime.folders import FOLDER_RATE, list_pictures, read_picture
from maclip_runtime.frames import Pixels

if TYPE_CHECKING:
    import av.container
    import av.video

OPEN_SECONDS = 10.0  # how long an address may take to answer
READ_SECONDS = 10.0  # how long it may then stay silent
NETWORK_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,udp,tcp,tls",
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
}


@dataclass(frozen=True)
class Frame:
    """One upright picture, uint8 [H, W, 3] RGB, `time_s` seconds after the source's first one."""

    pixels: Pixels
    time_s: float
    index: int


class Source(ABC):
    """An iterable of `Frame`s that is closed when its `with` block ends. `name` is safe to print."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames from here on, in order. Raises `source-lost` and `clip-unreadable`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file, camera or connection. Closing twice does nothing."""


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


def is_live(uri: str | PathLike[str] | int) -> bool:
    """Whether `uri` names a camera or an address rather than something on disk."""
    text = str(uri)
    return text.isdecimal() or text.startswith("/dev/video") or scheme_of(text) in {"v4l2", *NETWORK_PROTOCOLS}


def local_path(uri: str | PathLike[str]) -> Path:
    """The path that a plain path or a `file://` address names."""
    text = str(uri)
    return Path(unquote(urlsplit(text).path) if scheme_of(text) == "file" else text)


def scheme_of(uri: str) -> str:
    """The scheme of `uri` in lower case, "" for a path.

    >>> scheme_of("RTSP://camera/1"), scheme_of("clips/a.mp4")
    ('rtsp', '')
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    return match.group(1).lower() if match else ""


def redact(uri: str | PathLike[str] | int) -> str:
    """`uri` without its user, password and query values: fit for messages, logs and the gallery.

    >>> redact("rtsp://me:secret@camera/1?token=abc")
    'rtsp://***@camera/1?token=***'
    """
    text = str(uri)
    if not scheme_of(text):
        return text
    # The last @ before the path: a password may itself hold one.
    text = re.sub(r"^([^:/]+://)[^/?#]*@", r"\1***@", text)
    head, mark, query = text.partition("?")
    return head + mark + re.sub(r"=[^&#]*", "=***", query)


class FolderSource(Source):
    """A folder of JPEG or PNG frames in natural order, 8 a second. A broken picture is left out."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._pictures = list_pictures(folder)

    def __iter__(self) -> Iterator[Frame]:
        read = 0
        for place, picture in enumerate(self._pictures):
            try:
                pixels = read_picture(picture)
            except MaclipError:
                continue
            yield Frame(pixels, place / FOLDER_RATE, read)
            read += 1
        if not read:
            raise video.unreadable(self.name, "holds no readable picture")

    def close(self) -> None:
        """Nothing is held open: each picture is closed once it is read."""


class VideoSource(Source):
    """Anything FFmpeg reads: a file, a camera, an address. Can be iterated once."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.video.VideoStream,
        name: str,
        live: bool = False,
    ) -> None:
        super().__init__(name)
        self._container = container
        self._stream = stream
        self._live = live

    def close(self) -> None:
        """Let go of the file, camera or connection."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        import av

        rate = video.rate(self._stream)
        first: float | None = None
        time_s, index = 0.0, 0
        try:
            for frame in video.decode(self._container, self._stream):
                stamp = frame.time if frame.time is not None else index / rate
                first = stamp if first is None else first
                time_s = max(time_s, stamp - first)  # a clock that jumps back must not reorder frames
                yield Frame(video.upright(frame), time_s, index)
                index += 1
        except (av.error.FFmpegError, OSError) as error:
            if self._live:
                raise _lost(self.name, f"stopped sending ({video.reason(error)})") from error
            if not index:
                raise video.unreadable(self.name, f"cannot be decoded ({video.reason(error)})") from error
        if not index:
            raise video.unreadable(self.name, "holds no frame that can be decoded")


def _open_network(uri: str, scheme: str) -> Source:
    options = {"protocol_whitelist": NETWORK_PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # UDP loses packets at the first busy moment
    return _open_live(uri, None, options)


def _open_camera(device: str) -> Source:
    if sys.platform != "linux":
        raise MaclipError("source-unknown", "Cameras by number are read on Linux only.", "Give a file or an address.")
    if not Path(device).exists():
        raise _lost(device, "is not there")
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
        raise _lost(name, f"cannot be opened ({video.reason(error)})") from None
    try:
        return VideoSource(container, video.picture_stream(container, name), name, live=True)
    except BaseException:
        container.close()
        raise


def _lost(name: str, why: str) -> MaclipError:
    return MaclipError("source-lost", f"{name} {why}.", "Check that the camera is on and its address is right.")
