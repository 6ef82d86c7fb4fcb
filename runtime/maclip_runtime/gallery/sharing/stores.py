"""Where a shared gallery lies: what every store can do, and from an address to a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from maclip_runtime import values
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.redaction import redact

BUCKETS = ("s3", "gs", "az", "abfs", "abfss")
TOKEN_VARIABLE = "MACLIP_SHARE_TOKEN"
HOW = "Write https://HOST/PATH, or s3://BUCKET/PATH (gs://, az://); the store must take PUT with If-Match."


@dataclass(frozen=True)
class Stored:
    """What a store holds under a name: its bytes, and the tag that changes with them (None: the store has none)."""

    content: bytes
    tag: str | None


class Store(Protocol):
    """A store of named bytes. Each method raises `share-unreachable`, `share-refused`, and OSError never."""

    where: str

    def get(self, name: str, max_bytes: int, *, unless: str | None = None) -> Stored | None:
        """What lies under a name; None where nothing does.

        unless: the tag of what is known already; where it is still the same, the content is empty and the tag equal.

        Raises `share-corrupt` where it is larger than `max_bytes`.
        """
        ...

    def put(self, name: str, content: bytes) -> None:
        """Store bytes under a name that nothing else is stored under: what is there already is left."""
        ...

    def replace(self, name: str, content: bytes, tag: str | None) -> str | None:
        """Store bytes under a name if what is there has this tag (None: if nothing is there); its new tag.

        Raises `ChangedMeanwhile`.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class ChangedMeanwhile(Exception):
    """Another writer was first."""


def open_store(url: str) -> Store:
    """The store at an address. Raises `share-address` for one that is none, or that holds a credential."""
    url = values.text(url, "url", code="share-address")
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise _no_address(url, "it cannot be read") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise MaclipError(
            "share-address",
            f"The address {redact(url)} holds a credential or a query.",
            f"Leave it out: a web server's token comes from {TOKEN_VARIABLE} or the file of {TOKEN_VARIABLE}_FILE, a "
            "bucket's credentials from AWS_ACCESS_KEY_ID and the like.",
        )
    if not parts.hostname or not port_is_fine or "//" in parts.path or ".." in parts.path.split("/"):
        raise _no_address(url, "it names no host, or an odd path")
    where = url.rstrip("/")
    if parts.scheme in ("http", "https"):
        from maclip_runtime.gallery.sharing.web import WebStore

        return WebStore(where)
    if parts.scheme in BUCKETS:
        from maclip_runtime.gallery.sharing.bucket import BucketStore

        return BucketStore(where)
    raise _no_address(url, "its scheme is another one")


def unreachable(where: str, why: str) -> MaclipError:
    """The error `share-unreachable`."""
    return MaclipError(
        "share-unreachable",
        f"The store {where} cannot be reached or does not answer as it should ({why}).",
        "Try again when the network or the store is back; nothing here has changed.",
        EXIT_MACHINE_LACKS,
    )


def refused(where: str, why: str) -> MaclipError:
    """The error `share-refused`."""
    return MaclipError(
        "share-refused",
        f"The store {where} does not let this machine do that ({why}).",
        f"Give the right credentials: {TOKEN_VARIABLE} for a web server, AWS_ACCESS_KEY_ID and the like for a bucket.",
    )


def too_large(where: str, name: str, max_bytes: int) -> MaclipError:
    """The error `share-corrupt` of something larger than any that maclip writes."""
    return MaclipError(
        "share-corrupt",
        f"Nothing of {where} is used: {name} is larger than {max_bytes} bytes.",
        "Publish the gallery there again.",
    )


def no_conditions(where: str, why: str) -> MaclipError:
    """The error `share-unsupported`."""
    return MaclipError(
        "share-unsupported",
        f"The store {where} cannot be published to: {why}, so two machines at once could lose each other's clips.",
        "Use a web server that gives strong ETags and obeys If-Match and If-None-Match for PUT, or a bucket.",
    )


def _no_address(url: str, why: str) -> MaclipError:
    return MaclipError("share-address", f"{redact(url)} is no address of a store: {why}.", HOW)
