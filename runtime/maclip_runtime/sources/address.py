"""Addresses: their scheme, the name given to them, the path they name; `redact` leaves out their secrets."""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maclip_runtime.redaction import NETWORK_SCHEMES, redact

__all__ = ["absolute", "local_path", "lower_scheme", "redact", "scheme_of", "split_name"]

# `pathlib` turns "rtsp://camera" into "rtsp:/camera", which is no path for all that.
_ONE_SLASH = NETWORK_SCHEMES | {"v4l2", "csi"}
_NO_SLASH = ("bag", "gst")  # followed by a path, or by a pipeline


def local_path(uri: str | PathLike[str]) -> Path:
    """The path that `uri`, a plain path or a `file://` address, names."""
    text = str(uri)
    return Path(unquote(urlsplit(text).path) if scheme_of(text) == "file" else text)


def absolute(uri: str) -> str:
    """The same file from any folder: a path, a `file://` or a `bag:` address. Any other address stays as it is."""
    scheme = scheme_of(uri)
    if scheme == "bag":
        from maclip_runtime.sources.bags import BagAddress

        return str(BagAddress.parse(uri).absolute())
    return os.path.abspath(local_path(uri)) if scheme in {"", "file"} else uri


def scheme_of(uri: str) -> str:
    """The scheme of `uri` in lower case, "" for a path.

    >>> scheme_of("RTSP://camera/1"), scheme_of("bag:run.mcap"), scheme_of("clips/a.mp4")
    ('rtsp', 'bag', '')
    """
    if local := re.match(rf"({'|'.join(_NO_SLASH)}):", uri, re.IGNORECASE):
        return local[1].lower()
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/(/?)", uri)
    if match is None:
        return ""
    scheme = match[1].lower()
    return scheme if match[2] or scheme in _ONE_SLASH else ""


def lower_scheme(uri: str) -> str:
    """`uri` with its scheme in lower case and two slashes, as FFmpeg wants it.

    >>> lower_scheme("RTSP://Camera/A"), lower_scheme("A.mp4")
    ('rtsp://Camera/A', 'A.mp4')
    """
    scheme = scheme_of(uri)
    return f"{scheme}://{uri[len(scheme) + 1 :].lstrip('/')}" if scheme else uri


def split_name(text: str) -> tuple[str | None, str]:
    """The name and the address of `NAME=ADDRESS`; None and the whole where it has no name.

    >>> split_name("door=rtsp://camera/1"), split_name("rtsp://camera/1?channel=2")
    (('door', 'rtsp://camera/1'), (None, 'rtsp://camera/1?channel=2'))
    """
    found = re.match(r"([^=/\\:?]*[^=/\\:?\s])\s*=(.+)", text, re.DOTALL)
    # A file of that name is meant where there is one.
    return (found[1].strip(), found[2]) if found and not _exists(text) else (None, text)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False
