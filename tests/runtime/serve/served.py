"""A server on a free port, with sources that are played in a loop, and calls to it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maclip_runtime import Evidence, Recognizer, SourceOptions
from maclip_runtime.serve.access import Access
from maclip_runtime.serve.app import build_app
from maclip_runtime.serve.server import Address, bind, make_server
from maclip_runtime.serve.state import State
from maclip_runtime.serve.studio import Studio


class Served:
    """A running server: its studio, its address, and calls."""

    def __init__(self, studio: Studio, access: Access, port: int, token: str | None) -> None:
        self.studio = studio
        self.access = access
        self.port = port
        self.token = token
        self.url = f"http://127.0.0.1:{port}"

    def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Any:
        """The JSON of an answer; a refused one is raised as `urllib.error.HTTPError`."""
        status, found = self.ask(method, path, body, raw=raw, **headers)
        assert status < 300, (status, found)
        return found

    def ask(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and JSON (or bytes) of an answer."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            given["content-type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _parsed(answer.read(), answer.headers["content-type"])
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read(), error.headers["content-type"])

    def source(self, name: str) -> dict[str, Any]:
        """What the server says of a source."""
        found: dict[str, Any] = next(one for one in self.call("GET", "/api/state")["sources"] if one["name"] == name)
        return found

    def answer(self, name: str) -> str | None:
        """The label that a source has now."""
        said = self.source(name)["answer"]
        return said["label"] if said else None


def _parsed(data: bytes, kind: str | None) -> Any:
    return json.loads(data) if kind and kind.startswith("application/json") else data


def wait_for(reached: Callable[[], Any], seconds: float = 20.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return found


@contextmanager
def serving(
    bundle: Path,
    gallery: Path,
    sources: Sequence[tuple[str, Path | str]] = (),
    *,
    required: bool = False,
    evidence: Path | None = None,
    window_s: float | None = 1.0,
) -> Iterator[Served]:
    """A server for as long as the block lasts; videos are played in a loop."""
    address = Address("127.0.0.1", 0)
    state = State(gallery)
    access = Access(state, required=required)
    token = access.make_token()
    listening = bind(address)
    pairs = [(str(path), SourceOptions(name=name)) for name, path in sources]
    kept = None if evidence is None else Evidence(evidence)
    with listening, Recognizer.open(bundle, gallery, device="cpu") as recognizer:
        with Studio(recognizer, pairs, state, window_s=window_s, evidence=kept) as studio:
            server = make_server(build_app(studio, access), address)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            wait_for(lambda: server.started)
            yield Served(studio, access, listening.getsockname()[1], token)
            server.should_exit = server.force_exit = True
            thread.join(10)
        if kept is not None:
            kept.close()
