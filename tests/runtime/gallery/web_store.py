"""A plain web server that takes PUT with If-Match and If-None-Match, and can be made to misbehave."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer:
    """Keeps what is PUT in memory. Use it in a `with` block.

    token: wanted of every request.
    obeys: whether it minds conditions.
    files: by path; may be changed.
    before: called with method and path before a request is answered.
    """

    def __init__(self, *, token: str | None = None, obeys: bool = True, port: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.before: Callable[[str, str], None] | None = None
        self.token, self.obeys, self.weak = token, obeys, False
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.handled()

            def do_PUT(self) -> None:
                self.handled()

            def handled(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if server.before is not None:
                    server.before(self.command, self.path)
                with lock:
                    status, content = server.answer(self.command, self.path, dict(self.headers), body)
                    tag = server.tag(self.path)
                server.requests.append((self.command, self.path, status))
                self.send_response(status)
                if tag is not None:
                    self.send_header("ETag", tag)
                if status != 304:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if status != 304 else b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fleet"

    def tag(self, path: str) -> str | None:
        content = self.files.get(path)
        if content is None:
            return None
        return ("W/" if self.weak else "") + f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, b"no"
        tag = self.tag(path)
        if method == "GET":
            if tag is None:
                return 404, b"none"
            return (304, b"") if headers.get("If-None-Match") == tag else (200, self.files[path])
        fits = headers.get("If-Match") in (None, tag) and not (headers.get("If-None-Match") == "*" and tag)
        if self.obeys and not fits:
            return 412, b"changed"
        self.files[path] = body
        return 201, b""

    def __enter__(self) -> WebServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
