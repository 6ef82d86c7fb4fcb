"""Sinks: the record of an event, an outbox that never blocks, webhooks that fail."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sink_events import event, wait_for

from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError
from maclip_runtime.sinks import Sink, base, event_record, open_sink
from maclip_runtime.sinks.record import event_line

Answers = list[int]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(base, "MAX_RETRY_SECONDS", 0.05)


class Gate(Sink):
    """Delivers into a list, once the gate is open."""

    close_s = 0.2

    def __init__(self, capacity: int) -> None:
        self.open = threading.Event()
        self.got: list[float] = []
        self.problem: type[Exception] | None = None
        self.tries = 0
        super().__init__("gate", capacity=capacity)

    def deliver(self, line: bytes) -> None:
        self.open.wait(10)
        self.tries += 1
        if self.problem:
            raise self.problem("no")
        self.got.append(json.loads(line)["end_s"])


def test_record_has_stable_keys_and_finite_numbers() -> None:
    record = event_record(Event("start", "a", float("nan"), float("inf"), 1.0, 2.0, "camera", "distance"))
    assert list(record) == [
        *("schema", "kind", "label", "score", "margin", "start_s", "end_s", "source", "reason", "at"),
        *("match", "id", "started_at", "ended_at", "withdrawn", "strip", "clip"),
    ]
    assert (record["schema"], record["score"], record["margin"], record["at"]) == (3, None, None, None)


@pytest.mark.parametrize("label", ['"quoted"', "two\nlines", "ריקוד 👋", "\udcff file", "\u2028"])
def test_record_of_any_name_is_one_line(label: str) -> None:
    line = event_line(event(1, label=label))
    assert line.count(b"\n") == 1
    assert json.loads(line)["label"] == label.replace("\udcff", "?")


def test_slow_receiver_costs_updates_first_and_never_time(caplog: pytest.LogCaptureFixture) -> None:
    sink = Gate(capacity=3)
    sink.event(event(0))
    wait_for(lambda: sink._in_hand)
    for number, kind in enumerate(["start", "update", "end", "start", "update", "end"], start=1):
        sink.event(event(number, kind))
    assert (sink.waiting, sink.dropped) == (4, 3)  # nothing was waited for
    sink.open.set()
    sink.close()
    # 2 made room as an update, then 1 as the oldest, then 5 as an update.
    assert sink.got == [0, 3, 4, 6]
    assert (sink.delivered, sink.dropped, sink.waiting) == (4, 3, 0)
    assert "3 of 7 events were dropped" in caplog.text


def test_closing_does_not_wait_for_a_dead_receiver() -> None:
    sink = Gate(capacity=10)
    for number in range(4):
        sink.event(event(number))
    sink.close()
    assert not sink.open.is_set()
    assert (sink.delivered, sink.dropped) == (0, 4)  # had it waited, the receiver would have come back by itself
    sink.open.set()  # what comes back to life now must not be counted again
    sink.event(event(5))
    sink.close()
    sink._thread.join(30)
    assert not sink._thread.is_alive()
    assert (sink.delivered, sink.dropped, sink.waiting) == (0, 5, 0)


def test_unreachable_receiver_gets_everything_later(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "maclip")
    sink = Gate(capacity=10)
    sink.open.set()
    sink.problem = OSError
    for number in range(3):
        sink.event(event(number))
    wait_for(lambda: sink.tries >= 2)  # of the first event
    sink.problem = None
    wait_for(lambda: sink.delivered == 3)
    assert sink.got == [0, 1, 2]
    assert caplog.text.count("cannot deliver") == 1
    assert "delivering again" in caplog.text
    sink.problem = ValueError  # a fault that trying again would not mend
    sink.event(event(3))
    wait_for(lambda: sink.dropped == 1)
    sink.close()


@contextmanager
def server(answers: Answers, slow_s: float = 0.0, port: int = 0) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A web server that gives these answers in turn, then 204; what was POSTed to it."""
    got: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            time.sleep(slow_s)
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            got[-1]["authorization"] = self.headers["Authorization"]
            got[-1]["path"] = self.path
            self.send_response(answers.pop(0) if answers else 204)
            self.send_header("Location", "file:///etc/passwd")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{web.server_port}", got
    finally:
        web.shutdown()
        web.server_close()
        thread.join()


def test_webhook_posts_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server([]) as (host, got), open_sink(f"http://me:p%40ss@{host}/hook?key=1") as sink:
        sink.event(event(1))
        sink.event(event(2, label="ריקוד"))
        wait_for(lambda: sink.delivered == 2)
        assert "p%40ss" not in sink.name
        assert "hook" not in sink.name
    assert [(post["end_s"], post["label"], post["path"]) for post in got] == [
        (1, "waving", "/hook?key=1"),
        (2, "ריקוד", "/hook?key=1"),
    ]
    assert got[0]["authorization"] == "Basic bWU6cEBzcw=="


def test_webhook_tries_again_what_the_server_could_not_take(caplog: pytest.LogCaptureFixture) -> None:
    with server([503, 429, 204, 400, 302]) as (host, got), open_sink(f"http://{host}/") as sink:
        for number in range(4):
            sink.event(event(number))
        wait_for(lambda: sink.delivered + sink.dropped == 4)
    assert [post["end_s"] for post in got] == [0, 0, 0, 1, 2, 3]  # no redirect was followed
    assert (sink.delivered, sink.dropped) == (2, 2)
    assert "answered 503" in caplog.text
    assert "refused (answered 400)" in caplog.text


def test_webhook_gives_up_an_event_that_only_fails() -> None:
    with server([500] * base.MAX_TRIES) as (host, got), open_sink(f"http://{host}/") as sink:
        sink.event(event(0))
        sink.event(event(1))
        wait_for(lambda: sink.delivered == 1)
    assert sink.dropped == 1
    assert len(got) == base.MAX_TRIES + 1


def test_dead_and_slow_webhooks_do_not_hold_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server([]) as (host, _):
        pass  # nobody listens there now
    monkeypatch.setattr(Sink, "close_s", 0.3)
    with server([], slow_s=0.5) as (slow_host, _):
        sinks = [open_sink(f"http://me:secret@{address}/token") for address in (host, slow_host)]
        for sink in sinks:
            for number in range(20):
                sink.event(event(number))
        assert all(sink.delivered + sink.dropped < 20 for sink in sinks)  # the slow one would have taken ten seconds
        for sink in sinks:
            sink.close()
            assert sink.dropped + sink.delivered == 20
        assert sinks[0].dropped == 20
    assert "refused" in caplog.text  # the connection
    assert "secret" not in caplog.text
    assert "token" not in caplog.text


def test_webhook_reaches_a_server_that_comes_back() -> None:
    with server([]) as (host, _):
        pass
    with open_sink(f"http://{host}/") as sink:
        sink.event(event(0))
        wait_for(lambda: sink.health.troubled)
        with server([], port=int(host.split(":")[1])) as (_, got):
            wait_for(lambda: sink.delivered == 1)
            assert [post["end_s"] for post in got] == [0]


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("ftp://me:secret@host/x", "sink-unknown"),
        ("http://", "sink-invalid"),
        ("http://host:99999/secret", "sink-invalid"),
        ("http://host/secret\r\nX: y", "sink-invalid"),
        ("http://hö st/secret", "sink-invalid"),
        ("mqtt://me:secret@host", "sink-invalid"),
        ("mqtt://me:secret@host/a/#", "sink-invalid"),
        ("mqtt://me:secret@host/a?qos=7", "sink-invalid"),
    ],
)
def test_bad_addresses_are_refused_without_their_secrets(uri: str, code: str) -> None:
    with pytest.raises(MaclipError) as refused:
        open_sink(uri)
    assert refused.value.code == code
    assert "secret" not in str(refused.value)
