"""The ROS 2 sample: its logic on real messages, its node on stand-ins for rclpy, and what its packages install."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import ros_stand_in
import yaml
from bag_files import START_NS, Messages
from videos import color_frames

from maclip_runtime import MaclipError

ROOT = Path(__file__).parents[2]
ROS2 = ROOT / "samples" / "ros2"
PACKAGE = ROS2 / "maclip_ros"
STEP_NS = 100_000_000


def images(*parts: tuple[str, int], start_ns: int = START_NS, compressed: bool = False) -> Iterator[Any]:
    """Messages, ten a second: (colour, how many) each."""
    messages = Messages("mcap")
    frames = np.concatenate([color_frames(color, count) for color, count in parts])
    for index, frame in enumerate(frames):
        at = start_ns + index * STEP_NS
        yield messages.compressed(frame, at, "png") if compressed else messages.image(frame, "rgb8", at)


@pytest.fixture
def actions(bundle: Path, enrolled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(PACKAGE)
    from maclip_ros.actions import Actions

    made = Actions(str(bundle), str(enrolled), keep_s=3.0)
    yield made
    made.close()
    for name in [name for name in sys.modules if name.startswith("maclip_ros")]:
        del sys.modules[name]


def error_of(use: Any) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        use()
    return caught.value


@pytest.mark.parametrize("compressed", [False, True])
def test_events_are_on_the_clock_of_the_images(actions: Any, compressed: bool) -> None:
    events = [
        one for message in images(("red", 40), ("green", 40), compressed=compressed) for one in actions.add(message)
    ]
    said = [(one.kind, one.label) for one in events if one.kind != "update"]
    assert said == [("start", "red light"), ("end", "red light"), ("start", "green light")]
    sec, nanosec = actions.stamp(events[-1].start_s)
    assert abs(sec * 10**9 + nanosec - START_NS - 4 * 10**9) < 10**9
    assert [one.kind for one in actions.pause() if one.kind != "update"] == ["end"]
    assert actions.pause() == []


def test_an_action_is_learnt_from_the_last_seconds(actions: Any) -> None:
    assert error_of(lambda: actions.enroll("blue", 2.0)).code == "clip-too-short"
    for message in images(("red", 30), ("blue", 20)):
        actions.add(message)
    done = actions.enroll("blue light", 1.5, without_text=True, force=True)
    assert (done.added, done.clips) == (1, 1)
    assert actions.known() == {"blue light": 1, "green light": 2, "red light": 2}
    later = START_NS + 60 * 10**9
    events = [one for message in images(("blue", 40), start_ns=later) for one in actions.add(message)]
    assert ("start", "blue light") in [(one.kind, one.label) for one in events]
    assert actions.remove("blue light") == 1
    assert error_of(lambda: actions.remove("blue light")).code == "class-unknown"


def test_it_learns_its_first_action_and_forgets_its_last(bundle: Path, actions: Any, tmp_path: Path) -> None:
    first = type(actions)(str(bundle), str(tmp_path / "new.db"))
    for message in images(("red", 20)):
        assert first.add(message) == []
    first.enroll("red light", 1.5, without_text=True)
    later = list(images(("red", 30), start_ns=START_NS + 2 * 10**9))
    assert any(first.add(message) for message in later)
    first.remove("red light")
    for message in images(("red", 20), start_ns=START_NS + 5 * 10**9):
        first.add(message)
    first.close()


def test_what_is_kept_is_small_and_bounded(actions: Any) -> None:
    messages = Messages("mcap")
    for index in range(200):  # 50 a second, large
        picture = np.zeros((120, 160, 3), np.uint8)
        actions.add(messages.image(picture, "bgr8", START_NS + index * 20_000_000))
    kept = list(actions._kept)
    assert len(kept) <= 3.0 * 17 + 1
    assert min(kept[0].pixels.shape[:2]) == actions._side < 120
    actions.add(messages.image(np.zeros((120, 100, 3), np.uint8), "bgr8", START_NS + 5 * 10**9))
    assert len(actions._kept) == 1  # another resolution


@pytest.fixture
def node(bundle: Path, enrolled: Path, actions: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    ros_stand_in.install(monkeypatch, ROS2 / "maclip_msgs")
    given = {"bundle": str(bundle), "gallery": str(enrolled), "reliability": "reliable", "enroll_seconds": 1.5}
    monkeypatch.setattr(ros_stand_in.LifecycleNode, "given", given)
    from maclip_ros.node import ActionsNode

    return ActionsNode()


def test_the_node_publishes_learns_and_lets_go(node: Any) -> None:
    assert node.on_configure(None).name == "SUCCESS"
    assert node.on_activate(None).name == "SUCCESS"
    kind, topic, on_image, quality = node.subscription
    assert (kind.__name__, topic, quality.reliability, quality.depth) == ("Image", "image", "reliable", 1)
    shown = list(images(("red", 40), ("blue", 30)))
    for message in shown:
        on_image(message)
    events = node.publishers["~/events"].sent
    assert (events[0].kind, events[0].label, events[0].header) == (0, "red light", events[0].header)
    answers = node.publishers["~/classification"].sent
    assert answers[0].results[0].class_id == "red light"
    assert any(answers[0].header is message.header for message in shown)
    assert abs(events[0].started.sec - START_NS // 10**9) <= 1
    learnt = node.services["~/enroll"](name="blue light", without_text=True, force=True, seconds=0.0)
    assert (learnt.success, learnt.code, learnt.clips) == (True, "", 1)
    assert node.services["~/list"]().names == ["red light", "green light", "blue light"]
    failed = node.services["~/remove"](name="nothing")
    assert (failed.success, failed.code) == (False, "class-unknown")
    assert node.services["~/remove"](name="blue light").success
    assert [one.database_version for one in node.publishers["~/vision_info"].sent] == [0, 1, 2]
    assert node.on_deactivate(None).name == "SUCCESS"
    assert node.subscription is None
    assert node.on_cleanup(None).name == "SUCCESS"
    assert not node.services
    assert not node.publishers


def test_the_node_says_what_is_wrong(node: Any) -> None:
    assert node.on_configure(None).name == "SUCCESS"
    node.on_activate(None)
    node._on_image(Messages("mcap").image(np.zeros((4, 4, 4), np.uint8), "32FC1", START_NS))
    assert "clip-encoding-unknown" in node.errors[0]
    node.on_shutdown(None)
    node.parameters["bundle"].value = "nowhere"
    assert node.on_configure(None).name == "FAILURE"
    assert "nowhere" in node.errors[-1]


def test_packages_install_what_is_there_and_agree() -> None:
    version = next(
        line.split('"')[1] for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version")
    )
    for name in ("maclip_msgs", "maclip_ros"):
        package = ElementTree.parse(ROS2 / name / "package.xml").getroot()
        assert package.findtext("name") == name
        assert package.findtext("version") == version
    for line in (ROS2 / "maclip_msgs" / "CMakeLists.txt").read_text().splitlines():
        if '"msg/' in line or '"srv/' in line:
            assert (ROS2 / "maclip_msgs" / line.strip(' "')).is_file()
    setup = ast.parse((PACKAGE / "setup.py").read_text())
    call = next(node for node in ast.walk(setup) if isinstance(node, ast.Call) and ast.unparse(node.func) == "setup")
    words = {keyword.arg: keyword.value for keyword in call.keywords}
    for _, files in eval(ast.unparse(words["data_files"]), {"NAME": "maclip_ros"}):
        assert all((PACKAGE / file).is_file() for file in files)
    assert ast.literal_eval(words["version"]) == version
    compile((PACKAGE / "launch" / "actions.launch.py").read_text(), "launch", "exec")


def test_the_file_of_parameters_has_those_of_the_node(node: Any) -> None:
    stated = yaml.safe_load((PACKAGE / "config" / "actions.yaml").read_text())["/**"]["ros__parameters"]
    from maclip_ros.node import PARAMETERS

    assert stated == PARAMETERS
