"""The programs that users copy run as they stand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from videos import color_frames, color_video, turn_quarter, write_video

from maclip_runtime import Recognizer

SAMPLES = Path(__file__).parents[2] / "samples"


def run(sample: str, *args: object) -> str:
    done = subprocess.run(
        [sys.executable, SAMPLES / sample, *map(str, args)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_robot_loop_reacts_to_what_it_was_shown(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    said = run("robot_loop.py", bundle, enrolled, color_video(tmp_path / "a.mp4", [("red", 4.0), ("green", 4.0)]))
    assert [line.split(": ")[1].split(" (")[0] for line in said.splitlines()] == [
        "red light begins",
        "red light is over",
        "green light begins",
        "green light is over",
    ]


def test_own_camera_learns_what_it_did_not_know(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    said = run("own_camera.py", bundle, enrolled, color_video(tmp_path / "a.mp4", [("red", 4.0), ("blue", 10.0)]))
    assert [line.split(": ")[1] for line in said.splitlines()] == [
        "start red light",
        "end red light",
        "start unknown",
        "end unknown",
        "start new action 3",
        "end new action 3",
    ]


def test_own_source_is_watched_by_its_address(bundle: Path, enrolled: Path) -> None:
    said = run("own_source.py", bundle, enrolled, "colors://red,green")
    assert [line.split(": ")[1] for line in said.splitlines()] == [
        "start red light",
        "end red light",
        "start green light",
        "end green light",
    ]


def test_own_sink_gets_each_event(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    video = color_video(tmp_path / "a.mp4", [("red", 4.0), ("green", 4.0)])
    said = run("own_sink.py", bundle, enrolled, video, f"csv://{tmp_path / 'events.csv'}")
    rows = [line.split(",") for line in (tmp_path / "events.csv").read_text().splitlines()]
    assert said == f"{len(rows)} events delivered, 0 dropped\n"
    assert [(kind, label) for _, kind, label in rows if kind != "update"] == [
        ("start", "red light"),
        ("end", "red light"),
        ("start", "green light"),
        ("end", "green light"),
    ]


def called(sample: str, *args: object) -> int:
    """The exit code of a sample's `main`, called in this process."""
    spec = importlib.util.spec_from_file_location(sample, SAMPLES / f"{sample}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(*map(str, args))


def test_it_stops_while_someone_waves(
    bundle: Path, enrolled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = color_video(tmp_path / "a.mp4", [("blue", 3.0), ("red", 4.0), ("blue", 4.0)])
    assert called("stop_on_wave", bundle, enrolled, video, "red light") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == ["stops: the camera is silent", "drives", "stops: red light", "drives"]
    assert called("stop_on_wave", bundle, enrolled, tmp_path / "none.mp4") == 2
    assert capsys.readouterr().out.splitlines()[-1] == "stops: clip-unreadable"


def test_parts_of_a_phone_video_become_clips(
    bundle: Path, gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [("green", 10, 0), ("red", 15, 1), ("green", 10, 2), ("red", 15, 3)]
    frames = np.concatenate([color_frames(color, count, seed) for color, count, seed in shown])
    video = turn_quarter(write_video(tmp_path / "a.mp4", frames))
    assert called("phone_video", bundle, gallery, "red light", video, "1.0-2.5", "3.5-5.0", "9-10") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1].rstrip(".:") for line in said[:3]] == ["enrolled", "enrolled", "refused"]
    assert said[3] == "red light: 2 clips"
    with Recognizer.open(bundle, gallery) as recognizer:
        assert recognizer.gallery.clips("red light")[0].source == f"{video} 1.0-2.5"
        assert recognizer.classify(color_video(tmp_path / "b.mp4", [("red", 1.0)])).label == "red light"


@pytest.mark.parametrize("part", ["3-2", "two", "1.0"])
def test_a_part_that_is_none_is_said(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("phone_video", "bundle", "gallery.db", "waving", "a.mp4", part) == 2
    assert "FROM-TO" in capsys.readouterr().err
