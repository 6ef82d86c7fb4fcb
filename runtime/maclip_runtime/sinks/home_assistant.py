"""What Home Assistant is told over MQTT: one discovery message, and the states of actions.

Each source becomes an `event` entity, a sensor with the current action, and a binary sensor for each action. This
module makes the messages; `kinds/mqtt.py` publishes them.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

BIRTH_TOPIC = "homeassistant/status"  # "online" when Home Assistant has started
PREFIX = "homeassistant"
NOTHING = "none"  # the current action where none is open
MAX_SLUG = 40  # characters of a name in an identifier

Labels = Callable[[], Sequence[str]]


class Message(NamedTuple):
    """One message; `retain`: the broker keeps it for those who subscribe later."""

    topic: str
    payload: str
    retain: bool


class HomeAssistant:
    """The entities of one sink. Safe to use from several threads.

    topic: the sink's; states go to TOPIC/state, events to TOPIC/event/SOURCE.
    labels: names the actions that there are now.
    """

    def __init__(self, topic: str, labels: Labels) -> None:
        self._topic = topic
        self._labels = labels
        self._id = f"maclip_{slug(topic)}"
        self._lock = threading.Lock()
        self._sources: list[str] = []
        self._actions: list[str] = []
        self._components: dict[str, dict[str, Any]] = {}  # that were announced, also those that are gone
        self._open: dict[str, dict[str, str]] = {}  # by source: the labels of open events by their ids

    def source(self, name: str) -> bool:
        """Note a source; whether it, or the actions, are new, so that `announcement` has to be published again."""
        actions = list(self._labels())
        with self._lock:
            new = name not in self._sources or actions != self._actions
            if name not in self._sources:
                self._sources.append(name)
            self._actions = actions
        return new

    def announcement(self) -> list[Message]:
        """The discovery message and the present state; nothing before there is a source."""
        with self._lock:
            if not self._sources:
                return []
            gone = {key: {"p": one["p"]} for key, one in self._components.items()}  # an entry without more removes it
            present = {key: one for name in self._sources for key, one in self._entities(name)}
            self._components = {**gone, **present}
            config = {
                "dev": {"ids": [self._id], "name": f"maclip {self._topic}", "mf": "maclip", "sw": _version()},
                "o": {"name": "maclip", "sw": _version()},
                "availability_topic": f"{self._topic}/status",
                "state_topic": f"{self._topic}/state",
                "qos": 1,
                "cmps": self._components,
            }
            return [Message(config_topic(self._topic), _json(config), True), self._state()]

    def event(self, record: dict[str, Any]) -> list[Message]:
        """What an event changes."""
        source, label, kind = str(record["source"]), str(record["label"]), record["kind"]
        with self._lock:
            if source not in self._sources or kind == "update":
                return []
            opened = self._open.setdefault(source, {})
            if kind == "end":
                opened.pop(str(record["id"]), None)
                return [self._state()]
            opened[str(record["id"])] = label
            if label not in self._actions:
                return [self._state()]
            facts = {key: record[key] for key in ("score", "match", "id", "at", "strip", "clip")}
            told = {"event_type": label, **{key: value for key, value in facts.items() if value is not None}}
            return [self._state(), Message(f"{self._topic}/event/{slug(source)}", _json(told), False)]

    def _state(self) -> Message:
        states = {}
        for name in self._sources:
            labels = list(self._open.get(name, {}).values())
            on = sorted({slug(label) for label in labels if label in self._actions})
            states[slug(name)] = {"action": labels[-1] if labels else NOTHING, "on": on}
        return Message(f"{self._topic}/state", _json(states), True)

    def _entities(self, source: str) -> list[tuple[str, dict[str, Any]]]:
        key = slug(source)
        where = f"value_json['{key}']"  # a slug needs no escapes
        found: list[tuple[str, dict[str, Any]]] = [
            (
                f"{key}_event",
                {
                    "p": "event",
                    "name": f"{source} event",
                    "unique_id": f"{self._id}_{key}_event",
                    "state_topic": f"{self._topic}/event/{key}",
                    "event_types": self._actions,
                },
            ),
            (
                f"{key}_action",
                {
                    "p": "sensor",
                    "name": f"{source} action",
                    "unique_id": f"{self._id}_{key}_action",
                    "value_template": f"{{{{ {where}.action }}}}",
                },
            ),
        ]
        for action in self._actions:
            part = f"{key}_on_{slug(action)}"
            template = f"{{{{ 'ON' if '{slug(action)}' in {where}.on else 'OFF' }}}}"
            entity = {"p": "binary_sensor", "name": f"{source} {action}", "unique_id": f"{self._id}_{part}"}
            found.append((part, {**entity, "value_template": template}))
        return found


def removal(topic: str) -> list[Message]:
    """What removes all entities of a sink's topic: empty retained messages."""
    return [Message(config_topic(topic), "", True), Message(f"{topic}/state", "", True)]


def config_topic(topic: str) -> str:
    """The discovery topic of a sink's topic."""
    return f"{PREFIX}/device/maclip_{slug(topic)}/config"


def slug(name: str) -> str:
    """A name as an identifier of letters, digits and "_"; different names have different ones.

    >>> slug("front door")
    'front_door_7279998f'
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:MAX_SLUG]
    return f"{plain}_{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}".lstrip("_")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and few need it

    try:
        return version("maclip")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0"
