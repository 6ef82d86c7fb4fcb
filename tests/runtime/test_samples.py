"""The programs that users copy run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from videos import color_video

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
