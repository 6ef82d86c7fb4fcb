"""Galleries, recordings and calibrations as a user of `maclip-run` meets them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result
from videos import color_video

from maclip_cli.device.app import app
from maclip_runtime import Gallery
from maclip_runtime.errors import MaclipError

COMMAND = [sys.executable, "-c", "from maclip_cli.device.app import main\nmain()"]


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


def lines(done: Result) -> list[dict[str, object]]:
    assert done.exit_code == 0, done.exception
    return [json.loads(line) for line in done.stdout.splitlines()]


def refusal(done: Result) -> str:
    """The code that the command was refused with, having printed no result."""
    assert isinstance(done.exception, MaclipError), done.exception
    assert done.stdout == ""
    return done.exception.code


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red for 2 s, then green for 2 s."""
    return color_video(tmp_path_factory.mktemp("moving") / "moving.mp4", [("red", 2.0), ("green", 2.0)], seed=70)


def test_takes_are_recorded_kept_and_shown(bundle: Path, gallery: Path, moving: Path, tmp_path: Path) -> None:
    both = ("--bundle", bundle, "--gallery", gallery)
    recording = ("--from", moving, "--record", "1", "--takes", "2", "--strip", tmp_path / "strip.png")
    (done,) = lines(run("enroll", "red light", *both, *recording, "--yes", "--json"))
    assert (done["added"], done["clips"], done["forced"]) == (2, 2, [])
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.height == 2 * 128
        assert strip.width == 8 * 128
    shown = run("gallery", "show", "red light", "--gallery", gallery, "--sheet", tmp_path / "sheet.png")
    assert shown.exit_code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        red, green, _ = sheet.getpixel((sheet.width // 4, 30))
        assert red > 150 > green
    # Nobody to ask, and no --yes; a text that is not known is told before anything is recorded.
    assert refusal(run("enroll", "red light", *both, "--from", moving)) == "answer-missing"
    unknown = run("enroll", "door", *both, "--from", moving, "--text", "opening the door")
    assert refusal(unknown) == "name-unknown"
    assert "recording" not in unknown.stderr
    assert refusal(run("enroll", "red light", *both)) == "option-invalid"
    with Gallery(gallery) as opened:
        assert [info.clips for info in opened.classes()] == [2]


def in_a_terminal(*args: object) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    return process, ours


def read_until(terminal: int, words: str, seconds: float = 60.0) -> str:
    said, until = "", time.monotonic() + seconds
    while words not in said:
        assert time.monotonic() < until, said
        try:
            said += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # the other side has gone
            break
    assert words in said
    return said


def test_a_person_is_asked_and_may_refuse_or_leave(bundle: Path, enrolled: Path, moving: Path) -> None:
    args = ("enroll", "red light", "--from", moving, "--record", "1", "--bundle", bundle, "--gallery", enrolled)
    process, terminal = in_a_terminal(*args)
    said = read_until(terminal, "Keep it?")
    assert "▀" in said  # the strip, coarsely
    (picture,) = re.findall(r"see (\S+\.png)", said)
    assert Path(picture).stat().st_size > 100
    os.write(terminal, b"n\n")  # once more
    read_until(terminal, "Keep it?")
    assert not Path(picture).exists()
    os.write(terminal, b"y\n")
    read_until(terminal, "1 new, 3 in all")
    assert process.wait(timeout=30) == 0
    os.close(terminal)

    process, terminal = in_a_terminal(*args)
    read_until(terminal, "Keep it?")
    assert interrupted(process) == 130
    os.close(terminal)
    with Gallery(enrolled) as opened:
        assert [info.clips for info in opened.classes()] == [3, 2]


def interrupted(process: subprocess.Popen[bytes]) -> int:
    """Its exit code after Ctrl-C; after another where the first came just before it began to read its answer."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=5)
    raise AssertionError("Ctrl-C does not end it")


def test_negatives_and_calibration(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    gallery = ("--gallery", enrolled)
    both = ("--bundle", bundle, *gallery)
    assert lines(run("negatives", clips / "blue1.mp4", *both, "--json")) == [{"added": 1, "negatives": 1}]
    background = color_video(tmp_path / "blue.mp4", [("blue", 3.0)], seed=80)
    found = lines(run("calibrate", background, *both, "--figure", tmp_path / "figure.png", "--json"))
    assert [(one["name"], one["misses"], one["false_alarms_an_hour"]) for one in found] == [
        ("red light", 0, 0.0),
        ("green light", 0, 0.0),
    ]
    low, high = found[0]["false_alarms_an_hour_interval"]  # type: ignore[misc]
    assert low == 0 < 1000 < high  # of three seconds nobody can say much
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    shown = run("calibrate", *both).stdout
    assert "0 of 2" in shown
    assert "1 negatives and the clips of the other classes" in shown
    listed = lines(run("gallery", "list", *gallery, "--json"))
    assert all(info["limit"] is not None and not info["stale"] for info in listed)
    assert lines(run("calibrate", *both, "--clear", "--json")) == [{"cleared": 2}]
    assert lines(run("gallery", "list", *gallery, "--json"))[0]["limit"] is None
    (negative,) = lines(run("gallery", "show", "--negatives", *gallery, "--json"))
    assert negative["source"] == str(clips / "blue1.mp4")
    assert lines(run("gallery", "remove", "--negatives", "--clip", negative["id"], *gallery, "--json")) == [
        {"name": None, "removed": 1}
    ]
    assert refusal(run("gallery", "remove", *gallery)) == "option-invalid"


def test_a_gallery_travels_in_one_file(enrolled: Path, tmp_path: Path) -> None:
    file, new = tmp_path / "out.zip", tmp_path / "new.db"
    assert lines(run("gallery", "export", file, "--gallery", enrolled, "--json"))[0]["clips"] == 4
    (done,) = lines(run("gallery", "import", file, "--gallery", new, "--json"))
    assert (done["added"], done["classes"]) == (4, ["red light", "green light"])
    assert done["joined"] == []
    (again,) = lines(run("gallery", "import", file, "--gallery", new, "--new-only", "--json"))
    assert (again["added"], again["left"]) == (0, ["red light", "green light"])
    assert refusal(run("gallery", "export", enrolled, "--gallery", enrolled)) == "output-exists"
    assert refusal(run("gallery", "import", enrolled, "--gallery", new)) == "import-corrupt"


def test_a_bad_clip_is_refused_with_its_reason_and_forced(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    still = color_video(tmp_path / "unmoved.mp4", [("red", 0.1)] * 12, seed=3)  # the same frame over and over
    both = ("--bundle", bundle, "--gallery", enrolled)
    assert "forced" not in run("gallery", "show", "red light", "--gallery", enrolled).stdout
    done = run("enroll", "red light", still, *both)
    assert refusal(done) == "clip-rejected"
    assert re.search(r"still \(motion [0-9.]+, at least 4\)", str(done.exception))
    done = run("enroll", "red light", still, *both, "--force")
    assert "Kept in spite of: " in done.stdout
    shown = run("gallery", "show", "red light", "--gallery", enrolled).stdout
    assert "forced" in shown
    (row,) = (line for line in shown.splitlines() if "unmoved.mp4" in line)  # the end of a long path
    assert "still" in row
    assert str(still) not in row


def test_an_import_says_which_classes_have_changed(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "out.zip", tmp_path / "other.db"
    assert run("gallery", "export", file, "--gallery", enrolled).exit_code == 0
    assert run("enroll", "red light", clips / "red3.mp4", "--bundle", bundle, "--gallery", other).exit_code == 0
    kept = run("gallery", "import", file, "--gallery", other, "--new-only").stdout
    assert "Imported 2 clips in 1 classes" in kept
    assert "Left out, because the gallery has them: 'red light'." in kept
    joined = run("gallery", "import", file, "--gallery", other).stdout
    assert "These classes were there before and have more clips now: 'red light'." in joined


def test_show_without_a_name_shows_all_classes(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    gallery = ("--gallery", enrolled)
    assert run("enroll", "red light", clips / "red3.mp4", "--bundle", bundle, *gallery).exit_code == 0
    shown = lines(run("gallery", "show", *gallery, "--json"))
    assert [one["class_name"] for one in shown] == ["red light"] * 3 + ["green light"] * 2
    table = run("gallery", "show", *gallery, "--sheet", tmp_path / "sheet.png").stdout
    assert all(words in table for words in ("all classes", "red light", "green light"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == 5 * (64 + 4)
    one = run("gallery", "show", "red light", *gallery).stdout
    assert "green light" not in one
    assert refusal(run("gallery", "show", "red light", "--negatives", *gallery)) == "option-invalid"
    assert refusal(run("gallery", "show", "blue", *gallery)) == "class-unknown"


def test_a_name_that_the_bundle_does_not_know_is_enrolled_without_text(
    bundle: Path, gallery: Path, clips: Path
) -> None:
    both = ("--bundle", bundle, "--gallery", gallery)
    said = run("enroll", "juggling", clips / "red1.mp4", *both)
    assert said.exit_code == 0
    (line,) = [one for one in said.stdout.splitlines() if "Enrolled without text" in one]
    assert "'juggling' is not among the bundle's 6 action names" in line
    assert "--text" in line
    (done,) = lines(run("enroll", "smiling", clips / "green1.mp4", *both, "--json"))
    assert done["text_name"] is None
    assert "Enrolled without text" in done["notes"][0]  # type: ignore[index]
    assert refusal(run("enroll", "sitting", clips / "blue1.mp4", *both, "--text", "sitting")) == "name-unknown"
