"""Messages to people: one for each action that has ended, not too often, with the strip attached."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sink_events import wait_for

from maclip_runtime.decisions import Event
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sinks import SinkOptions, open_sink

pytest.importorskip("apprise")


class Service:
    """A service that Apprise posts JSON to."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        got = self.got

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"apprise://json://127.0.0.1:{self.server.server_port}/secret"


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    yield found
    found.server.shutdown()


def event(kind: str, label: str = "waving", source: str = "door", **more: Any) -> Event:
    return Event(kind, label, 0.9, 0.5, 1.0, 3.5, source, match=0.83, id="a" * 16, **more)  # type: ignore[arg-type]


def test_a_message_for_an_action_with_its_strip(service: Service, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    with open_sink(service.address, SinkOptions(evidence=tmp_path, message_s=0)) as sink:
        for one in (event("start"), event("update"), event("end", "unknown"), event("end", withdrawn=True)):
            sink.event(one)
        sink.event(event("end", strip="a.jpg"))
        wait_for(lambda: service.got)
    (message,) = service.got
    assert message["title"] == "door: waving"
    assert message["message"] == "waving, for 2.5 s, match 0.83."
    assert message["attachments"][0]["filename"] == "a.jpg"
    assert "secret" not in sink.name
    assert (sink.delivered, sink.dropped) == (1, 0)


def test_messages_are_limited_for_each_source(service: Service) -> None:
    options = SinkOptions(message_s=0.5)
    with open_sink(service.address, options) as sink:
        for source in ("door", "door", "door", "hall"):
            sink.event(event("end", source=source))
        wait_for(lambda: sink.delivered == 4)
        assert [message["title"] for message in service.got] == ["door: waving", "hall: waving"]
        sink._sent_at["door"] -= 1.0  # half a second has passed
        sink.event(event("end"))
        wait_for(lambda: len(service.got) == 3)
    assert service.got[-1]["message"].endswith("2 more since the last message.")


def test_what_is_no_service_is_refused_without_its_tokens() -> None:
    for address in ("apprise://", "apprise://nothing", "apprise://nosuch://token-1"):
        with pytest.raises(MaclipError) as caught:
            open_sink(address)
        assert caught.value.code == "sink-invalid"
        assert "token-1" not in str(caught.value)


def test_a_missing_apprise_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MaclipError) as caught:
        open_sink("apprise://ntfy://topic")
    assert (caught.value.code, caught.value.exit_code) == ("sink-missing", EXIT_MACHINE_LACKS)
