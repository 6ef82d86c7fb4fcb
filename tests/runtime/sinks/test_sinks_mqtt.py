"""Events over MQTT, with a real broker that is stopped, started and frozen."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mqtt_broker import Broker, wait_for

from maclip_runtime.decisions import Event
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sinks import Sink, open_sink
from maclip_runtime.sinks.kinds import mqtt

paho = pytest.importorskip("paho.mqtt.client")


def event(number: int) -> Event:
    return Event("start", "waving", 0.5, 0.25, 0.0, float(number), "camera")


class Subscriber:
    """Everything that was published below "camera"."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, str, bool]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._note
        self._client.on_connect = lambda client, *_: client.subscribe("camera/#", qos=1)
        self._client.reconnect_delay_set(1, 1)
        self._ready = False
        self._client.on_subscribe = self._subscribed
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_for(lambda: self._ready)

    def _subscribed(self, *_: Any) -> None:
        self._ready = True

    def _note(self, client: Any, data: Any, message: Any) -> None:
        self.got.append((message.topic, message.payload.decode(), message.retain))

    def numbers(self) -> list[float]:
        return [json.loads(text)["end_s"] for topic, text, _ in self.got if topic == "camera/1"]

    def statuses(self) -> list[str]:
        return [text for topic, text, _ in self.got if topic == "camera/1/status"]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    found = Broker(tmp_path)
    yield found
    found.stop()


def test_events_arrive_and_status_is_retained(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "maclip")
    subscriber = Subscriber(broker.port)
    with open_sink(f"mqtt://me:secret@127.0.0.1:{broker.port}/camera/1") as sink:
        for number in range(100):
            sink.event(event(number))
        wait_for(lambda: len(subscriber.numbers()) == 100)
        late = Subscriber(broker.port)
        wait_for(lambda: late.got)
        assert late.got == [("camera/1/status", "online", True)]
        late.close()
    wait_for(lambda: len(subscriber.statuses()) == 2)
    assert subscriber.numbers() == list(range(100))
    assert subscriber.statuses() == ["online", "offline"]
    assert (sink.delivered, sink.dropped, sink.waiting) == (100, 0, 0)
    assert "secret" not in sink.name + caplog.text
    wait_for(lambda: not sink._client._thread)  # none is left behind
    subscriber.close()


def test_broker_tells_the_last_will_of_a_killed_program(broker: Broker) -> None:
    subscriber = Subscriber(broker.port)
    program = (
        "import sys, time; from maclip_runtime.sinks import open_sink; sink = open_sink(sys.argv[1]); time.sleep(60)"
    )
    address = f"mqtt://127.0.0.1:{broker.port}/camera/1"
    victim = subprocess.Popen([sys.executable, "-c", program, address])
    wait_for(lambda: subscriber.statuses() == ["online"])
    victim.kill()
    victim.wait()
    wait_for(lambda: subscriber.statuses() == ["online", "offline"])
    subscriber.close()


def test_broker_may_come_late_and_be_restarted(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "maclip")
    broker.stop()
    with open_sink(f"mqtt://127.0.0.1:{broker.port}/camera/1") as sink:
        sink.event(event(0))
        wait_for(lambda: "cannot be reached" in caplog.text)
        assert sink.delivered == 0
        broker.start()
        subscriber = Subscriber(broker.port)
        wait_for(lambda: subscriber.numbers() == [0])
        broker.stop()
        wait_for(lambda: "is gone" in caplog.text)
        for number in range(1, 60):  # more than may be in flight
            sink.event(event(number))
        assert sink.delivered < 60  # nothing was waited for
        broker.start()
        subscriber.close()
        subscriber = Subscriber(broker.port)
        wait_for(lambda: sink.delivered == 60)
    assert sink.dropped == 0
    assert set(subscriber.statuses()) <= {"online", "offline"}
    subscriber.close()


def test_frozen_broker_costs_events_and_not_time(
    broker: Broker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sink, "close_s", 0.5)
    caplog.set_level(logging.INFO, "maclip")
    with open_sink(f"mqtt://127.0.0.1:{broker.port}/camera/1") as sink:
        sink._capacity = 50
        wait_for(lambda: "connected" in caplog.text)
        assert broker.process
        broker.process.send_signal(signal.SIGSTOP)
        for number in range(500):
            sink.event(event(number))
        wait_for(lambda: sink.delivered == mqtt.MAX_IN_FLIGHT)
        time.sleep(0.1)
        assert sink.delivered == mqtt.MAX_IN_FLIGHT  # no more is handed over
        assert sink.waiting <= 51
    assert sink.delivered == 0  # what nobody acknowledged was not delivered
    assert sink.dropped == 500
    assert "500 of 500 events were dropped" in caplog.text


def test_wrong_password_is_said_once_without_it(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with open_sink(f"mqtt://me:wrong-one@127.0.0.1:{broker.port}/camera/1"):
        wait_for(lambda: "refuses the connection" in caplog.text)
    assert "wrong-one" not in caplog.text


def test_certificate_is_checked(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    caplog.set_level(logging.INFO, "maclip")
    key, certificate = broker.use_tls(tmp_path)
    files = ["-keyout", str(key), "-out", str(certificate)]
    name = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *files, *name]
    subprocess.run(made, check=True, capture_output=True)
    broker.stop()
    broker.start()
    address = f"mqtts://127.0.0.1:{broker.port}/camera/1"
    with open_sink(address):
        wait_for(lambda: "not trusted" in caplog.text)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with open_sink(address) as sink:
        sink.event(event(1))
        wait_for(lambda: sink.delivered)
        wait_for(lambda: "connected" in caplog.text)
    assert sink.dropped == 0


def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MaclipError) as missing:
        open_sink("mqtt://host/topic")
    assert (missing.value.code, missing.value.exit_code) == ("sink-missing", EXIT_MACHINE_LACKS)
    assert "maclip[mqtt]" in missing.value.fix
    assert mqtt.PORTS["mqtts"] == 8883
