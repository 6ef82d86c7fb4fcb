"""Addresses: their scheme, the path they name, and the address without its secrets."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(uri: str | PathLike[str]) -> Path:
    """The path that `uri`, a plain path or a `file://` address, names."""
    text = str(uri)
    return Path(unquote(urlsplit(text).path) if scheme_of(text) == "file" else text)


def scheme_of(uri: str) -> str:
    """The scheme of `uri` in lower case, "" for a path.

    >>> scheme_of("RTSP://camera/1"), scheme_of("clips/a.mp4")
    ('rtsp', '')
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    return match.group(1).lower() if match else ""


def lower_scheme(uri: str) -> str:
    """`uri` with its scheme in lower case, as FFmpeg wants it.

    >>> lower_scheme("RTSP://Camera/A"), lower_scheme("A.mp4")
    ('rtsp://Camera/A', 'A.mp4')
    """
    scheme = scheme_of(uri)
    return scheme + uri[len(scheme) :]


def redact(uri: str | PathLike[str] | int) -> str:
    """`uri` without its user, password and query values, safe for messages, logs and the gallery.

    >>> redact("rtsp://me:secret@camera/1?token=abc")
    'rtsp://***@camera/1?token=***'
    """
    text = str(uri)
    if not scheme_of(text):
        return text
    # Up to the last @ before the path: a password may contain one. A password with a literal / ? or # (which should be
    # %2F, %3F, %23) ends the host early and leaves a port that is no number: then all up to the last @ is hidden.
    authority = re.match(r"[^:/]+://([^/?#]*)", text)
    broken = authority and "@" not in authority[1] and re.search(r":[^0-9\]]", authority[1])
    text = re.sub(r"^([^:/]+://).*@" if broken else r"^([^:/]+://)[^/?#]*@", r"\1***@", text)
    head, mark, query = text.partition("?")
    hidden = [part.partition("=")[0] + "=***" if "=" in part else "***" for part in query.split("&")]
    return head + mark + "&".join(hidden) if mark else head
