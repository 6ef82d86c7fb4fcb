"""Network addresses of sinks: checked before they are used, and safe to print."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import redact


def network_address(uri: str) -> SplitResult:
    """The parts of an address with a host. Raises `sink-invalid`."""
    try:
        address = urlsplit(uri)
        address.port  # noqa: B018 (raises where it is no port)
        (address.hostname or "").encode("idna")
        uri.encode("ascii")
    except ValueError:
        raise invalid(uri, "is not an address") from None
    if not address.hostname:
        raise invalid(uri, "names no host")
    if any(ord(letter) <= 32 for letter in uri):
        raise invalid(uri, "contains a space or a control character")
    return address


def redact_path(uri: str) -> str:
    """The address for messages and logs, without credentials and without the path of a webhook: it is often secret."""
    return re.sub(r"^(https?://[^/?#]*).*", r"\1/…", redact(uri), flags=re.IGNORECASE | re.DOTALL)


def invalid(uri: str, why: str) -> MaclipError:
    """The error `sink-invalid`; `why` continues the sentence."""
    return MaclipError(
        "sink-invalid",
        f"{redact_path(uri)} {why}.",
        "Write mqtt://USER:PASSWORD@HOST:PORT/TOPIC or https://HOST/PATH, with % codes for special characters.",
    )
