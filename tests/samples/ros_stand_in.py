"""Stands in for ROS 2: as much of rclpy and of its messages as `samples/ros2` uses, without any communication.

Messages are made from the definitions of `maclip_msgs` and from the fields below, which are those of the packages' own
definitions; an unknown field is an error, as in ROS.
"""

from __future__ import annotations

import re
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

MESSAGES = {
    "builtin_interfaces.msg": {"Time": {"sec": 0, "nanosec": 0}},
    "sensor_msgs.msg": {
        "Image": {"header": None, "height": 0, "width": 0, "encoding": "", "is_bigendian": 0, "step": 0, "data": b""},
        "CompressedImage": {"header": None, "format": "", "data": b""},
    },
    "vision_msgs.msg": {
        "Classification": {"header": None, "results": []},
        "ObjectHypothesis": {"class_id": "", "score": 0.0},
        "VisionInfo": {"header": None, "method": "", "database_location": "", "database_version": 0},
    },
}
DEFAULTS = {"string": "", "bool": False, "builtin_interfaces/Time": None, "std_msgs/Header": None}


def message(name: str, fields: dict[str, Any], constants: dict[str, int] | None = None) -> type:
    """A class with these fields and no others."""

    def init(self: Any, **given: Any) -> None:
        for field, default in fields.items():
            empty = types.SimpleNamespace(stamp=None, frame_id="") if field == "header" else default
            setattr(self, field, given.pop(field, empty))
        assert not given, f"{name} has no {set(given)}"

    return type(name, (), {"__slots__": tuple(fields), "__init__": init, **(constants or {})})


def parsed(text: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The fields and constants of a definition."""
    fields: dict[str, Any] = {}
    constants: dict[str, int] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words and "=" in words:
            constants[words[1]] = int(words[3])
        elif words:
            kind = words[0]
            fields[words[1]] = [] if kind.endswith("[]") else DEFAULTS.get(kind, 0)
    return fields, constants


class Publisher:
    def __init__(self) -> None:
        self.active, self.sent = False, []

    def publish(self, one: Any) -> None:
        if self.active:  # as a lifecycle publisher
            self.sent.append(one)


class Result(Enum):
    SUCCESS = 0
    FAILURE = 1


class LifecycleNode:
    """Parameters, publishers, services and the transitions that the sample asks for."""

    given: dict[str, Any] = {}  # noqa: RUF012  parameters of the next node

    def __init__(self, name: str, **_: Any) -> None:
        self.parameters: dict[str, Any] = {}
        self.publishers: dict[str, Publisher] = {}
        self.services: dict[str, Any] = {}
        self.subscription: Any = None
        self.errors: list[str] = []

    def declare_parameter(self, name: str, default: Any) -> None:
        self.parameters[name] = types.SimpleNamespace(value=self.given.get(name, default))

    def get_parameter(self, name: str) -> Any:
        return self.parameters[name]

    def get_logger(self) -> Any:
        return types.SimpleNamespace(error=lambda text, **_: self.errors.append(text))

    def get_clock(self) -> Any:
        return types.SimpleNamespace(now=lambda: types.SimpleNamespace(to_msg=lambda: "now"))

    def create_lifecycle_publisher(self, kind: type, topic: str, quality: Any) -> Publisher:
        return self.publishers.setdefault(topic, Publisher())

    def create_service(self, kind: Any, name: str, answer: Any) -> str:
        self.services[name] = lambda **request: answer(kind.Request(**request), kind.Response())
        return name

    def create_subscription(self, kind: type, topic: str, callback: Any, quality: Any) -> Any:
        self.subscription = (kind, topic, callback, quality)
        return self.subscription

    def destroy_subscription(self, one: Any) -> None:
        assert one is self.subscription
        self.subscription = None

    def destroy_lifecycle_publisher(self, one: Publisher) -> None:
        self.publishers = {topic: made for topic, made in self.publishers.items() if made is not one}

    def destroy_service(self, name: str) -> None:
        del self.services[name]

    def _publishers(self, active: bool) -> Result:
        for publisher in self.publishers.values():
            publisher.active = active
        return Result.SUCCESS

    def on_configure(self, state: Any) -> Result:
        return self._publishers(False)

    on_cleanup = on_shutdown = on_configure

    def on_activate(self, state: Any) -> Result:
        return self._publishers(True)

    def on_deactivate(self, state: Any) -> Result:
        return self._publishers(False)


def install(monkeypatch: pytest.MonkeyPatch, definitions: Path) -> None:
    """Put the stand-ins in the place of ROS. `definitions`: the folder of `maclip_msgs`."""
    made = {module: {name: message(name, fields) for name, fields in of.items()} for module, of in MESSAGES.items()}
    made["maclip_msgs.msg"] = {
        file.stem: message(file.stem, *parsed(file.read_text())) for file in (definitions / "msg").glob("*.msg")
    }
    made["maclip_msgs.srv"] = {}
    for file in (definitions / "srv").glob("*.srv"):
        request, response = (parsed(part) for part in re.split(r"^---$", file.read_text(), flags=re.M))
        parts = {"Request": message("Request", *request), "Response": message("Response", *response)}
        made["maclip_msgs.srv"][file.stem] = type(file.stem, (), parts)
    policy = types.SimpleNamespace
    made |= {
        "rclpy": {},
        "rclpy.executors": {"ExternalShutdownException": type("ExternalShutdownException", (Exception,), {})},
        "rclpy.lifecycle": {
            "LifecycleNode": LifecycleNode,
            "LifecycleState": object,
            "TransitionCallbackReturn": Result,
        },
        "rclpy.qos": {
            "QoSProfile": lambda **given: types.SimpleNamespace(**given),
            "QoSReliabilityPolicy": policy(BEST_EFFORT="best effort", RELIABLE="reliable"),
            "QoSDurabilityPolicy": policy(TRANSIENT_LOCAL="transient local"),
        },
    }
    for name, content in made.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        parent = name.partition(".")[0]
        if parent not in made:
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
