"""Before any endpoint: the host's name, the origin, the token, sizes; and headers on every answer."""

from __future__ import annotations

import json
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maclip_runtime.errors import MaclipError
from maclip_runtime.serve.access import LOCAL_HOSTS, Access

COOKIE = "maclip_session"
OPEN_PATHS = ("/", "/api/login", "/api/session", "/favicon.svg")  # and /page/: the page itself holds no secret
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_BODY = 1 << 20  # bytes, of anything but an upload
MAX_UPLOAD = 200 << 20
UPLOADS = {"/api/takes/upload": MAX_UPLOAD, "/api/gallery/import": MAX_UPLOAD}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware. What it refuses never reaches an endpoint."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket, or refuse it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            status, code, message, fix = refused
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 4000 + status, "reason": message})
            return await _answer(send, status, {"code": code, "message": message, "fix": fix})
        limit = UPLOADS.get(scope["path"], MAX_BODY)
        await self._app(scope, _bounded(receive, limit), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str, str] | None:
        host = headers.get("host", "")
        if not self._access.required and _name_of(host) not in LOCAL_HOSTS:
            return (
                403,
                "host-unknown",
                "The server is asked for by a strange name.",
                "Open http://127.0.0.1 and the port.",
            )
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and not _same_origin(headers, host):
            return 403, "origin-foreign", "The request comes from another page.", "Use the server's own page."
        length = headers.get("content-length", "0")
        limit = UPLOADS.get(scope["path"], MAX_BODY)
        if not length.isascii() or not length.isdigit() or int(length) > limit:
            return 413, "upload-too-large", f"More than {limit >> 20} MiB were sent.", "Send a shorter clip."
        path = scope["path"]
        if not self._access.required or path in OPEN_PATHS or path.startswith("/page/"):
            return None
        try:
            if self._is_known(headers, (scope.get("client") or ("", 0))[0]):
                return None
        except MaclipError as error:
            return 429, error.code, error.message, error.fix
        return 401, "token-missing", "A token is needed.", "Log in with the token that the server printed."

    def _is_known(self, headers: dict[str, str], address: str) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token:
            return self._access.is_token(token.strip(), address)
        return self._access.is_session(session_of(headers.get("cookie", "")))


def session_of(cookies: str) -> str:
    """The session's id in a Cookie header; "" without one."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]


def _same_origin(headers: dict[str, str], host: str) -> bool:
    """Whether a request comes from our own page, or from no page at all."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive`, which fails where more than `limit` bytes come."""
    seen = 0

    async def read() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise MaclipError("upload-too-large", f"More than {limit >> 20} MiB were sent.", "Send a shorter clip.")
        return message

    return read


def _with_headers(send: Send) -> Send:
    async def write(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_pairs(message["headers"])]
        await send(message)

    return write


def _pairs(present: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name.decode("latin-1").lower() for name, _ in present}
    wanted = {"cache-control": "no-store", **HEADERS}
    return [(name.encode(), value.encode()) for name, value in wanted.items() if name not in names]


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_pairs(headers)]})
    await send({"type": "http.response.body", "body": data})
