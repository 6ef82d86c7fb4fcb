"""What people see while a command works: how much is left, in a terminal and nowhere else."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from videos import color_video

from maclip_cli import waiting
from maclip_cli.device import options


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    shown = io.StringIO()

    def people() -> Console:
        return Console(file=shown, force_terminal=True, width=100, highlight=False)

    monkeypatch.setattr(waiting, "people", people)
    monkeypatch.setattr("maclip_cli.console.people", people)
    return shown


def test_a_bar_says_how_much_is_left(terminal: io.StringIO) -> None:
    with waiting.bar("reading [clips]") as update:
        update(1, 4)
    assert "reading [clips]" in terminal.getvalue()
    assert "25 %" in terminal.getvalue()
    with waiting.bar("looking") as update:
        update(12.4, None)
    assert "looking: 12 s" in terminal.getvalue()
    with waiting.doing("loading") as note:
        note("round 2 of 3")
    assert "round 2 of 3" in terminal.getvalue()


def test_time_left_is_told_from_what_counts() -> None:
    now = [0.0]
    left = waiting.Left(lambda: now[0])
    assert left("loading") == "loading"
    assert left("round 1 of 10") == "round 1 of 10"
    now[0] = 60.0
    assert left("round 2 of 10") == "round 2 of 10, 0:09:00 left"
    assert left("another 1 of 10") == "another 1 of 10"


def test_the_length_of_what_is_watched(terminal: io.StringIO, tmp_path: Path) -> None:
    videos = [str(tmp_path / f"{name}.mp4") for name in "ab"]
    for video in videos:
        color_video(Path(video), [("red", 2.0)])
    assert options.total_length(videos) == pytest.approx(4.0, abs=0.2)
    assert options.total_length(videos, seconds=1.5) == pytest.approx(3.0)
    assert options.total_length([videos[0], "rtsp://camera/1"]) is None
    assert options.total_length([str(tmp_path / "nothing.mp4")]) is None


def test_files_are_watched_with_the_time_left_in_a_terminal(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    color_video(tmp_path / "long.mp4", [("red", 6.0), ("green", 6.0)])
    command = [sys.executable, "-m", "maclip_cli.device", "recognize", "long.mp4", "--bundle", str(bundle)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "--gallery", str(enrolled), "--device", "cpu"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # how a terminal ends
            pass
        assert process.stdout is not None
        events = process.stdout.read().decode()
    os.close(ours)
    assert process.returncode == 0, shown
    assert b"watching" in shown
    assert b"left" in shown
    assert "start" in events
    assert "watching" not in events
