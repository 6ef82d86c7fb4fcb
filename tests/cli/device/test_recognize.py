"""`maclip-run recognize` with several sources, regions and the motion gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import color_frames, color_video, write_video

from maclip_cli.device.app import app
from maclip_runtime.errors import MaclipError


@pytest.fixture
def recognize(bundle: Path, enrolled: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; its JSON Lines, or the error it ended with."""

    def run(*args: object) -> list[dict[str, Any]]:
        both = ("--bundle", bundle, "--gallery", enrolled, "--device", "cpu", "--json")
        capfd.readouterr()
        app(["recognize", *map(str, args), *map(str, both)], standalone_mode=False)
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    return run


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Red on the left, green on the right, for three seconds."""
    halves = np.concatenate([color_frames("red", 30), color_frames("green", 30)], axis=2)
    return write_video(tmp_path / "both.mp4", halves)


def ended(events: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(Path(event["source"]).name, event["label"]) for event in events if event["kind"] == "end"}


def test_several_sources_are_named_in_their_events(recognize: Any, tmp_path: Path) -> None:
    red = color_video(tmp_path / "red.mp4", [("red", 3.0)])
    green = color_video(tmp_path / "green.mp4", [("green", 3.0)])
    events = recognize(red, green, "--window", 1)
    assert ended(events) == {("red.mp4", "red light"), ("green.mp4", "green light")}
    answers = recognize(red, green, "--whole-clip")
    assert [answer["label"] for answer in answers] == ["red light", "green light"]


def test_one_region_for_all_sources_or_one_for_each(recognize: Any, both: Path) -> None:
    left, right = ("--roi", "0,0,0.5,1"), ("--roi", "0.5,0,0.5,1")
    for mode in ((), ("--whole-clip",)):
        labels = [row["label"] for row in recognize(both, *left, *mode) if row["kind"] != "update"]
        assert set(labels) == {"red light"}
        rows = recognize(both, both, *left, *right, *mode)
        assert {row["label"] for row in rows} == {"red light", "green light"}
    for regions, code in [((*left, *left), "option-invalid"), (("--roi", "1,2"), "roi-invalid")]:
        with pytest.raises(MaclipError) as caught:
            recognize(both, both, both, *regions)
        assert caught.value.code == code


def test_a_still_picture_is_said_to_be_still(recognize: Any, tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.mp4", np.repeat(color_frames("red", 1), 40, axis=0))
    gated = recognize(still, "--window", 1, "--motion-gate", 1.0)
    assert [(event["label"], event["reason"]) for event in gated if event["kind"] == "end"] == [
        ("red light", ""),
        ("unknown", "still"),
    ]
    assert ended(recognize(still, "--window", 1)) == {("still.mp4", "red light")}
    with pytest.raises(MaclipError) as caught:
        recognize(still, "--motion-gate", -1)
    assert caught.value.code == "motion-invalid"


def test_a_missing_source_leaves_the_others_and_is_the_error_at_the_end(
    recognize: Any, both: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for sources, events in [((both, tmp_path / "none.mp4"), 2), ((tmp_path / "none.mp4",), 0)]:
        with pytest.raises(MaclipError) as caught:
            recognize(*sources, "--window", 1)
        assert caught.value.code == "clip-unreadable"
        kinds = [json.loads(line)["kind"] for line in capfd.readouterr().out.splitlines()]
        assert len([kind for kind in kinds if kind != "update"]) == events


def test_sources_have_the_names_before_them(recognize: Any, both: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = ("--roi", "0,0,0.5,1", "--roi", "0.5,0,0.5,1")
    events = recognize(f"left={both}", f"right={both}", *parts, "--window", 1)
    assert {(event["source"], event["label"]) for event in events} == {("left", "red light"), ("right", "green light")}
    answers = recognize(f"left={both}", f"right={both}", *parts, "--whole-clip")
    assert [(answer["source"], answer["label"]) for answer in answers] == [
        ("left", "red light"),
        ("right", "green light"),
    ]
    with pytest.raises(MaclipError, match="Two sources are called 'left'"):
        recognize(f"left={both}", f"left={both}")


@pytest.mark.parametrize("mode", [(), ("--whole-clip",)])
def test_one_broken_file_of_several_is_reported_and_the_others_are_answered(
    recognize: Any, both: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], mode: tuple[str, ...]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"x")
    with pytest.raises(MaclipError, match=r"broken\.mp4") as caught:
        recognize(both, tmp_path / "broken.mp4", f"last={both}", *mode)
    assert caught.value.code == "clip-unreadable"
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {row["source"] for row in rows} == {str(both), "last"}
