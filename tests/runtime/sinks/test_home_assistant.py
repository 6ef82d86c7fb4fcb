"""Home Assistant over a real broker: discovery, states, its restart, and removal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mqtt_broker import Broker, wait_for

from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError
from maclip_runtime.sinks import SinkOptions, open_sink
from maclip_runtime.sinks.home_assistant import BIRTH_TOPIC, HomeAssistant, config_topic, slug
from maclip_runtime.sinks.kinds import mqtt
from maclip_runtime.sources import SourceState, SourceStatus

paho = pytest.importorskip("paho.mqtt.client")
CONFIG = config_topic("home/kitchen")


def status(name: str) -> SourceStatus:
    return SourceStatus(name, SourceState.RUNNING, 0.0, 0, 0, 0, 10.0, "", live=True)


def event(kind: str, label: str, number: int) -> Event:
    return Event(kind, label, 0.9, 0.5, 1.0, 2.0, "front door", at=3.0, match=0.8, id=f"{number:016x}")  # type: ignore[arg-type]


class Home:
    """What Home Assistant would see: the messages of its own topics and of ours."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, str]] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _, __, message: self.got.append((message.topic, message.payload.decode()))
        self.client.connect("127.0.0.1", port)
        self.client.subscribe([("homeassistant/#", 1), ("home/kitchen/#", 1)])
        self.client.loop_start()

    def last(self, topic: str) -> Any:
        texts = [text for name, text in self.got if name == topic]
        return json.loads(texts[-1]) if texts and texts[-1] else None

    def count(self, topic: str) -> int:
        return sum(name == topic for name, _ in self.got)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    found = Broker(tmp_path)
    yield found
    found.stop()


def test_discovery_states_a_restart_and_removal(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "LOOK_SECONDS", 0.0)
    home, actions = Home(broker.port), ["waving", "öffnet die Tür"]
    address = f"mqtt://127.0.0.1:{broker.port}/home/kitchen"
    with open_sink(address, SinkOptions(actions=lambda: actions)) as sink:
        sink.status(status("front door"))
        wait_for(lambda: home.last(CONFIG))
        config, key = home.last(CONFIG), slug("front door")
        entities = config["cmps"]
        assert {one["p"] for one in entities.values()} == {"event", "sensor", "binary_sensor"}
        assert entities[f"{key}_event"]["event_types"] == actions
        assert config["availability_topic"] == "home/kitchen/status"
        assert len({one["unique_id"] for one in entities.values()}) == len(entities) == 4
        sink.event(event("start", "waving", 1))
        fired = f"home/kitchen/event/{key}"
        wait_for(lambda: home.last(fired))
        assert home.last(fired)["event_type"] == "waving"
        wait_for(lambda: home.last(config["state_topic"])[key] == {"action": "waving", "on": [slug("waving")]})
        sink.event(event("end", "waving", 1))
        sink.event(event("start", "unknown", 2))
        wait_for(lambda: home.last(config["state_topic"])[key] == {"action": "unknown", "on": []})
        assert home.count(fired) == 1
        # Home Assistant restarts: it says so, and is told everything again.
        before = home.count(CONFIG)
        home.client.publish(BIRTH_TOPIC, "online")
        wait_for(lambda: home.count(CONFIG) > before)
        # An action is taught, another removed.
        actions[:] = ["waving", "jumping"]
        sink.status(status("front door"))
        wait_for(lambda: f"{key}_on_{slug('jumping')}" in home.last(CONFIG)["cmps"])
        assert home.last(CONFIG)["cmps"][f"{key}_on_{slug('öffnet die Tür')}"] == {"p": "binary_sensor"}
    late = Home(broker.port)
    wait_for(lambda: late.last(CONFIG))  # retained
    command = [sys.executable, "-m", "maclip_cli.device", "home-assistant", "remove", address]
    assert b"Removed" in subprocess.run(command, capture_output=True, check=True).stdout
    wait_for(lambda: home.got[-1][1] == "" and (CONFIG, "") in home.got)
    empty = Home(broker.port)
    wait_for(lambda: empty.count("home/kitchen/status"))
    assert empty.last(CONFIG) is None
    for one in (home, late, empty):
        one.client.disconnect()
        one.client.loop_stop()


def test_templates_give_what_the_states_say() -> None:
    jinja2 = pytest.importorskip("jinja2")
    home = HomeAssistant("t", lambda: ['it\'s "{{ 1 }}"', "b"])
    home.source("camera")
    home.source("front door")
    (state,) = home.event({"source": "front door", "kind": "start", "id": "1", "label": "gone"})
    record = {"source": "front door", "kind": "start", "id": "2", "label": 'it\'s "{{ 1 }}"'}
    state = home.event({**record, **dict.fromkeys(("score", "match", "at", "strip", "clip"), None)})[0]
    config = json.loads(home.announcement()[0].payload)

    def rendered(key: str) -> str:
        template = jinja2.Template(config["cmps"][key]["value_template"])
        return str(template.render(value_json=json.loads(state.payload)))

    door = slug("front door")
    assert rendered(f"{door}_action") == record["label"]
    assert rendered(f"{door}_on_{slug(record['label'])}") == "ON"
    assert rendered(f"{door}_on_{slug('b')}") == "OFF"
    assert rendered(f"{slug('camera')}_action") == "none"


def test_a_broker_that_is_not_there_is_said() -> None:
    with pytest.raises(MaclipError) as caught:
        mqtt.remove_from_home_assistant("mqtt://127.0.0.1:1/kitchen")
    assert caught.value.code == "sink-lost"
