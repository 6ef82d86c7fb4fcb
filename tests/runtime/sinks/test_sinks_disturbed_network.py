"""A sink recovers by itself from what brokers and servers do, and says what is wrong: once, with the reason."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sink_events import event, wait_for

from maclip_runtime.sinks import Sink, base, health, open_sink
from maclip_runtime.sinks.health import Health
from maclip_runtime.sinks.kinds import mqtt


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(base, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(base, "MAX_RETRY_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "maclip")


@contextmanager
def port(answer: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[int]]]:
    """A port that treats each connection so, and how many came."""
    count = [0]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                count[0] += 1
                with connection:
                    try:
                        answer(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], count
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()


def hangs_up(connection: socket.socket) -> None:
    connection.recv(1000)


def tls_alert(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46")


def web_server(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + b"x" * 200)


def garbage(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"\x20\x02\x00\x00" + b"\x40\x01\x00" + b"\x90\x00")  # a welcome, then half an acknowledgement


def not_allowed(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"\x20\x02\x00\x05")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hangs_up, "hangs up"),
        (tls_alert, "mqtts://"),
        (web_server, "trying again"),
        (garbage, "trying again"),
        (not_allowed, "refuses the connection (Not authorized)"),
    ],
)
def test_what_is_no_broker_is_said_once(
    answer: Callable[[socket.socket], None],
    words: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("paho.mqtt.client")
    monkeypatch.setattr(Sink, "close_s", 0.1)
    monkeypatch.setattr(mqtt, "RESTART_SECONDS", 0.05)
    monkeypatch.setattr(mqtt, "MAX_RETRY_SECONDS", 1)
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    with port(answer) as (number, count), open_sink(f"mqtt://me:secret@127.0.0.1:{number}/kitchen") as sink:
        sink.event(event(0))
        wait_for(lambda: count[0] >= 3)  # it goes on trying
        wait_for(lambda: words in caplog.text)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([text for text in warnings if "dropped" not in text]) == len(set(warnings)) - 1 <= 2
    assert "secret" not in caplog.text
    assert not died


def test_a_broker_that_does_not_listen_is_said_with_the_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paho.mqtt.client")
    monkeypatch.setattr(Sink, "close_s", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    with open_sink(f"mqtt://127.0.0.1:{number}/kitchen"), open_sink("mqtt://no-such-host.invalid/kitchen"):
        wait_for(lambda: "cannot be reached (Connection refused)" in caplog.text)
        wait_for(lambda: caplog.text.count("cannot be reached") == 2)
    assert "no-such-host.invalid/kitchen: the broker cannot be reached (" in caplog.text


def test_a_broker_that_is_silent_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("paho.mqtt.client")
    monkeypatch.setattr(Sink, "close_s", 0.1)
    monkeypatch.setattr(mqtt, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(mqtt, "WAIT_SECONDS", 0.02)
    done = threading.Event()
    with port(lambda connection: done.wait(20) and None) as (number, _):
        with open_sink(f"mqtt://127.0.0.1:{number}/kitchen") as sink:
            sink.event(event(0))
            wait_for(lambda: "the broker does not answer" in caplog.text)
        done.set()


@pytest.mark.parametrize(("status", "words"), [(404, "are refused (answered 404)"), (503, "cannot deliver (answered")])
def test_a_webhook_that_always_fails_is_said_once(status: int, words: str, caplog: pytest.LogCaptureFixture) -> None:
    def answer(connection: socket.socket) -> None:
        while connection.recv(10_000):
            code = 204 if working else status
            connection.sendall(f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n".encode())

    working: list[int] = []
    with port(answer) as (number, _), open_sink(f"http://127.0.0.1:{number}/") as sink:
        for one in range(4):
            sink.event(event(one))
        wait_for(lambda: sink.dropped == 4)
        assert caplog.text.count(words) == 1
        assert len(caplog.records) <= 2
        working.append(1)
        sink.event(event(4))
        wait_for(lambda: sink.delivered == 1)
        assert caplog.text.count("delivering again") == 1


def test_a_webhook_s_unknown_host_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sink, "close_s", 0.1)
    with open_sink("https://no-such-host.invalid/secret") as sink:
        sink.event(event(0))
        wait_for(lambda: "cannot deliver (" in caplog.text)
    assert "secret" not in caplog.text


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"])
def test_an_idle_connection_may_close_at_any_time(
    farewell: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event waits for a retry for it."""
    monkeypatch.setattr(base, "FIRST_RETRY_SECONDS", 60.0)

    def one_answer(connection: socket.socket) -> None:
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 204 X\r\n\r\n" + farewell)

    with port(one_answer) as (number, count):
        with open_sink(f"http://127.0.0.1:{number}/") as sink:
            for one in range(3):
                sink.event(event(one))
                wait_for(lambda one=one: sink.delivered == one + 1)  # type: ignore[misc]
        assert count[0] == 3
    assert not caplog.records


def test_health_says_each_problem_once_until_it_has_been_well_for_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(health.time, "monotonic", lambda: now[0])
    well = Health("sink")
    said: list[list[str]] = []
    for at, step in [(0, "a"), (1, "a"), (2, "b"), (3, ""), (4, "a"), (5, ""), (100, "a"), (500, "a"), (501, "")]:
        caplog.clear()
        now[0] = at
        well.fails(step) if step else well.works()
        said.append([record.getMessage() for record in caplog.records])
    again = ["sink: delivering again"]
    assert said == [["sink: a"], [], ["sink: b"], again, [], [], ["sink: a"], [], again]
