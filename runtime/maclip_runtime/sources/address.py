"""Names of sources: which kind an address is, and the address without its secrets."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What FFmpeg may open on the way: an address on the network leads nowhere else, least of all to this machine's files.
_HTTP = "http,https,tcp,tls,crypto"
NETWORK_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,udp,tcp,tls",
    "http": _HTTP,
    "https": _HTTP,
}


def is_live(uri: str | PathLike[str] | int) -> bool:
    """Whether `uri` names a camera or an address rather than something on disk."""
    text = str(uri)
    return text.isdecimal() or text.startswith("/dev/video") or scheme_of(text) in {"v4l2", "csi", *NETWORK_PROTOCOLS}


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
    # The last @ before the path: a password may itself hold one. What should have been written %2F, %3F or %23 cuts the
    # host short and leaves no number for its port: then everything to the last @ is taken for the password.
    authority = re.match(r"[^:/]+://([^/?#]*)", text)
    broken = authority and "@" not in authority[1] and re.search(r":[^0-9\]]", authority[1])
    text = re.sub(r"^([^:/]+://).*@" if broken else r"^([^:/]+://)[^/?#]*@", r"\1***@", text)
    head, mark, query = text.partition("?")
    hidden = [part.partition("=")[0] + "=***" if "=" in part else "***" for part in query.split("&")]
    return head + mark + "&".join(hidden) if mark else head
