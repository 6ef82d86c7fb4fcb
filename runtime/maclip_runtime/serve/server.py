"""Serving: the socket, the token, and an orderly end."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.serve.access import LOCAL_HOSTS

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE_SECONDS = 3  # for open connections, when the server ends
MAX_MESSAGE_BYTES = 1 << 16  # that a browser may send over its WebSocket


@dataclass(frozen=True)
class Address:
    """Where to serve: `host` and `port`, with TLS where a certificate and its key are given."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOCAL_HOSTS or self.host.startswith("127.")

    def url(self, port: int) -> str:
        """For people; `port` is the one that was taken."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        shown = socket.gethostname() if self.host in ("0.0.0.0", "::") else host
        return f"{'https' if self.certificate else 'http'}://{shown}:{port}/"


def require_packages() -> None:
    """Raises `serve-missing` where the extra is not installed."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise MaclipError(
            "serve-missing",
            f"Serving the page needs {error.name}, which is not installed.",
            "Install it: pip install 'maclip[serve]'.",
            EXIT_MACHINE_LACKS,
        ) from error


def bind(address: Address) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `address-taken`."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.host, address.port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        why = getattr(error, "strerror", None) or error
        raise MaclipError(
            "address-taken",
            f"The page cannot be served at {address.host}:{address.port} ({why}).",
            "Give another --port or --host.",
        ) from error
    return made


def make_server(app: FastAPI, address: Address) -> Any:
    """A uvicorn server, for `run(sockets=[...])`. Raises `certificate-invalid`."""
    import ssl

    import uvicorn

    options: dict[str, Any] = {}
    if address.certificate is not None:
        options = {"ssl_certfile": str(address.certificate), "ssl_keyfile": str(address.key or address.certificate)}
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        lifespan="off",
        **options,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise MaclipError(
            "certificate-invalid",
            f"The certificate or its key cannot be used ({getattr(error, 'strerror', None) or error}).",
            "Give PEM files that belong together.",
        ) from error
    return uvicorn.Server(config)
