"""Addresses without their secrets: nothing that reaches a person, a log or the gallery holds a credential."""

from __future__ import annotations

import re
from os import PathLike

NETWORK_SCHEMES = frozenset(("rtsp", "rtsps", "http", "https", "mqtt", "mqtts", "rtmp", "srt", "udp"))
# One slash is what `pathlib` leaves of two. No scheme is longer, and without a bound a long text takes minutes.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,20}:/"
_EMBEDDED = re.compile(rf"(?:{_SCHEME}/|(?:{'|'.join(sorted(NETWORK_SCHEMES))}):/)[^\s'\"<>]+", re.IGNORECASE)
_BARE_LOGIN = re.compile(r"^[^\s/@:]+:[^\s/]*@(?=[^\s/@])")  # user:password@host without a scheme
# Some recorders have them in the path: rtsp://10.0.0.9/user=admin_password=abc_channel=1_stream=0.sdp
_PATH_SECRET = re.compile(
    r"(?<![A-Za-z])((?:user|username|login|pass|passwd|password|pwd|token|key|auth|secret)=)"
    r".*?(?=_[A-Za-z]+=|[/&;?#]|$)",
    re.IGNORECASE,
)
# `bag:` and `gst:` are followed by a path or by a pipeline, whose elements may have an address or a password.
_LOCAL = re.compile(r"(?:[^=/\\:?]+=)?(?:bag|gst):", re.IGNORECASE)
_PROPERTY_SECRET = re.compile(
    r"""((?<![\w-])(?:[\w-]*(?:pw|passwd|password|passphrase|secret|token)|user-id|username)\s*=\s*)(?:"[^"]*"|'[^']*'|[^\s!]+)""",
    re.IGNORECASE,
)


JOINERS = "\u200c\u200d"  # not printable to Python, but part of Persian words and of emoji


def redact(uri: str | PathLike[str] | int) -> str:
    """`uri` without its user, password and query values, safe for messages, logs and the gallery.

    >>> redact("rtsp://me:secret@camera/1?token=abc")
    'rtsp://***@camera/1?token=***'
    """
    text = str(uri)
    if local := _LOCAL.match(text):
        return local[0] + redact_text(_PROPERTY_SECRET.sub(r"\1***", text[local.end() :]))
    begins = re.search(_SCHEME, text)
    if begins is None:
        return _BARE_LOGIN.sub("***@", text)
    # What stands before an address is a name (`door=rtsp://...`) or the words of a sentence.
    before, address = text[: begins.start()], text[begins.start() :]
    if before and not address.startswith(f"{begins[0]}/") and begins[0][:-2].lower() not in NETWORK_SCHEMES:
        return text  # "a:/b" inside a path
    return before + _redacted(address)


def redact_text(text: str) -> str:
    """`text` with every address in it redacted.

    >>> redact_text("cannot open rtsp://me:secret@camera/1: refused")
    'cannot open rtsp://***@camera/1: refused'
    """
    return _EMBEDDED.sub(lambda found: _with_its_end(found[0]), text)


def one_line(text: str) -> str:
    """`text` as one line that a person can read: control characters, marks that turn the line and the like as escapes.

    >>> one_line("a\\nb.mp4")
    'a\\\\nb.mp4'
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in JOINERS else sign.encode("unicode_escape").decode() for sign in text
    )


def _with_its_end(address: str) -> str:
    """Redact an address in a sentence, whose last mark is not part of it."""
    bare = address.rstrip(".,;:)…")
    return _redacted(bare) + address[len(bare) :]


def _redacted(text: str) -> str:
    # Up to the last @ before the path: a password may contain one. A password with a literal / ? or # (which should be
    # %2F, %3F, %23) ends the host early and leaves a port that is no number: then all up to the last @ is hidden.
    authority = re.match(r"[^:/]+:/+([^/?#]*)", text)
    broken = authority and "@" not in authority[1] and re.search(r":[^0-9\]]", authority[1])
    text = re.sub(r"^([^:/]+:/+).*@" if broken else r"^([^:/]+:/+)[^/?#]*@", r"\1***@", text, flags=re.DOTALL)
    head, mark, query = text.partition("?")
    head = _PATH_SECRET.sub(r"\1***", head)
    hidden = [part.partition("=")[0] + "=***" if "=" in part else "***" for part in query.split("&")]
    return head + mark + "&".join(hidden) if mark else head
