"""The --device value of a server: `triton:grpc://HOST:PORT`, or `triton:grpcs://HOST:PORT` over TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from maclip_runtime.engines.base import TRITON_PREFIX
from maclip_runtime.errors import MaclipError

TOKEN_VARIABLE = "MACLIP_TRITON_TOKEN"
CA_VARIABLE = "MACLIP_TRITON_CA"
TIMEOUT_SECONDS = 3.0  # of one step; a clip of ViT-B takes a server tens of milliseconds
MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS = 0.05, 60.0
HOW = "Write triton:grpc://HOST:PORT, or triton:grpcs://HOST:PORT for TLS; ?timeout=SECONDS may follow."


@dataclass(frozen=True)
class RemoteAddress:
    """Where a server listens.

    host, port: of the server's gRPC endpoint.
    secure: over TLS.
    timeout_s: seconds until a step counts as not answered, retries included.
    """

    host: str
    port: int
    secure: bool
    timeout_s: float

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, so that nothing passes a network."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(device: str) -> RemoteAddress:
    """The address in a --device value. Raises `device-unknown`, whose message holds no credential."""
    try:
        parts = urlsplit(device.removeprefix(TRITON_PREFIX))
        host, port = parts.hostname, parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        timeout_s = float(options.pop("timeout", TIMEOUT_SECONDS))
    except ValueError as error:
        raise _unknown("it is no address, or its timeout is no number") from error
    if parts.username is not None or parts.password is not None:
        raise _unknown(
            "it holds a user or a password",
            f"Leave them out, and put a token into the environment variable {TOKEN_VARIABLE} or into the file that "
            f"{TOKEN_VARIABLE}_FILE names.",
        )
    if parts.scheme not in ("grpc", "grpcs") or not host or not port or parts.path not in ("", "/") or parts.fragment:
        raise _unknown("it is not grpc:// or grpcs:// with a host and a port")
    if options:
        raise _unknown("it has other options than timeout")
    if not MIN_TIMEOUT_SECONDS <= timeout_s <= MAX_TIMEOUT_SECONDS:
        raise _unknown(f"its timeout is not between {MIN_TIMEOUT_SECONDS:g} and {MAX_TIMEOUT_SECONDS:g} seconds")
    return RemoteAddress(host, port, parts.scheme == "grpcs", timeout_s)


def _unknown(why: str, fix: str = HOW) -> MaclipError:
    return MaclipError("device-unknown", f"The server's address in --device cannot be used: {why}.", fix)
