"""Opening a sink by its name."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit

from maclip_runtime.errors import MaclipError
from maclip_runtime.sinks.base import Sink
from maclip_runtime.sinks.files import KEPT_FILES, ROTATE_BYTES, FileSink, StdoutSink
from maclip_runtime.sources import local_path, redact, scheme_of


def open_sink(uri: str, max_bytes: int = ROTATE_BYTES, keep: int = KEPT_FILES) -> Sink:
    """Open `-` (stdout), a file's path, `mqtt[s]://[user:password@]host[:port]/topic` or `http[s]://…`.

    A file is set aside at `max_bytes` bytes, and `keep` such are kept. A broker or server need not answer yet.
    Raises `output-unwritable`, `sink-invalid`, `sink-unknown`, `sink-missing`.

    >>> with open_sink("-") as sink:  # doctest: +SKIP
    ...     recognizer.watch("rtsp://camera/stream", callbacks=[sink])
    """
    scheme = scheme_of(uri)
    if uri == "-":
        return StdoutSink()
    if scheme in {"", "file"}:
        return FileSink(local_path(uri), max_bytes, keep)
    if scheme in {"mqtt", "mqtts"}:
        from maclip_runtime.sinks.mqtt import MqttSink

        return MqttSink(_mqtt_address(uri), _safe(uri))
    if scheme in {"http", "https"}:
        from maclip_runtime.sinks.webhook import WebhookSink

        return WebhookSink(_address(uri), _safe(uri))
    raise MaclipError(
        "sink-unknown",
        f"{redact(uri)} is no place for events that maclip knows.",
        "Use -, a file's path, mqtt://, mqtts://, http:// or https://.",
    )


def _address(uri: str) -> SplitResult:
    try:
        address = urlsplit(uri)
        address.port  # noqa: B018 (raises where it is no port)
        (address.hostname or "").encode("idna")
        uri.encode("ascii")
    except ValueError:
        raise _invalid(uri, "is not an address") from None
    if not address.hostname:
        raise _invalid(uri, "names no host")
    if any(ord(letter) <= 32 for letter in uri):
        raise _invalid(uri, "holds a space or a control character")
    return address


def _mqtt_address(uri: str) -> SplitResult:
    address = _address(uri)
    topic = unquote(address.path.strip("/"))
    if not topic or set(topic) & set("#+\0"):
        raise _invalid(uri, "names no topic to publish to")
    if "?" in uri or "#" in uri:
        raise _invalid(uri, "has options, and none are known")
    return address


def _safe(uri: str) -> str:
    """The address for messages and logs. A webhook's path is often its secret."""
    return re.sub(r"^(https?://[^/?#]*).*", r"\1/…", redact(uri), flags=re.IGNORECASE | re.DOTALL)


def _invalid(uri: str, why: str) -> MaclipError:
    return MaclipError(
        "sink-invalid",
        f"{_safe(uri)} {why}.",
        "Write mqtt://USER:PASSWORD@HOST:PORT/TOPIC or https://HOST/PATH, with % codes for special characters.",
    )
