"""Opening a source by its address."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources.address import redact
from maclip_runtime.sources.base import Source
from maclip_runtime.sources.options import DEFAULTS, SourceOptions
from maclip_runtime.sources.registry import SOURCES


def open_source(uri: str | PathLike[str] | int, options: SourceOptions | None = None) -> Source:
    """Open a video file, a folder of frames, a camera or a network stream.

    A video or a folder (8 frames per second) is a path or `file://`. A camera is `0`, `/dev/video0` or
    `v4l2:///dev/video0`, on a Jetson `csi://0`. A stream is `rtsp://`, `rtsps://`, `http://` or `https://` (MJPEG,
    HLS, or a recording, which is played at its own pace). `bag:FILE?topic=/camera/image` is a recording of ROS, and
    `gst:PIPELINE` a pipeline of GStreamer that ends in `appsink`. Other kinds are registered with `@source`.
    Cameras and streams are live: they give the newest frame and reconnect by themselves.

    uri: the address; an integer is a camera's number.
    options: name, patience, region of interest; default: `SourceOptions()`.

    Raises `source-unknown`; `clip-unreadable` for a file or folder; `source-lost` for a live source that does not
    answer (with `options.wait` it returns at once instead); `device-missing` where the machine lacks what the camera
    needs; `source-missing` where the package that provides the scheme cannot be loaded.
    """
    uri = values.address(uri, "uri")
    options = DEFAULTS if options is None else values.instance(options, SourceOptions, "options")
    address = _text(uri)
    opened = SOURCES.find(address).open(address, options)
    if options.name is not None:
        opened.name = redact(options.name)
    return opened


def is_live(uri: str | PathLike[str] | int) -> bool:
    """Whether `uri` names a camera or a stream rather than something on disk. Raises `source-missing`."""
    kind = SOURCES.get(_text(uri))
    return kind is not None and kind.live


def is_recorded(uri: str | PathLike[str] | int) -> bool:
    """Whether `uri` gives the same frames each time that it is opened. Raises `source-missing`."""
    kind = SOURCES.get(_text(uri))
    return kind is not None and kind.recorded


Address = str | PathLike[str] | int  # what `open_source` takes; a camera may be a number


def check_names(options: Sequence[SourceOptions]) -> None:
    """Raises `option-invalid` where two sources were given one name."""
    given = [one.name for one in options if one.name is not None]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        raise MaclipError("option-invalid", f"Two sources are called {twice!r}.", "Give each a name of its own.")


def options_of(uris: Sequence[Address], options: object) -> list[SourceOptions]:
    """The options of each source, from one for all of them, one for each, or None. Raises `option-invalid`."""
    if options is None or isinstance(options, SourceOptions):
        chosen = [options or SourceOptions()] * len(uris)
    else:
        wanted = "SourceOptions, or a list of them"
        chosen = [values.instance(one, SourceOptions, "options") for one in values.items(options, "options", wanted)]
    if not uris or len(chosen) != len(uris):
        raise MaclipError(
            "option-invalid",
            f"{len(uris)} sources were given, and options for {len(chosen)}.",
            "Give one source or more, and options for all or for each.",
        )
    check_names(chosen)
    return chosen


class Names:
    """Gives each of several sources a name of its own.

    Two channels of one recorder, and two regions of one camera, may share an address without credentials: the second
    is called "ADDRESS (2)". A name that the caller gave is kept.
    """

    def __init__(self, options: Sequence[SourceOptions]) -> None:
        self._taken = {redact(one.name) for one in options if one.name is not None}

    def name(self, source: Source, options: SourceOptions) -> None:
        """Rename a source whose name is taken."""
        if options.name is not None:
            return
        number, first = 1, source.name
        while source.name in self._taken:
            number += 1
            source.name = f"{first} ({number})"
        self._taken.add(source.name)


def _text(uri: Address) -> str:
    """The address as text; a number is a camera's, whatever is called so in this folder."""
    return f"/dev/video{uri}" if isinstance(uri, int) else str(uri)
