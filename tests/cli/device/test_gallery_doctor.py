"""`maclip-run gallery doctor`: what people and programs read, the picture, and commands that work as printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result
from videos import color_frames

from maclip_cli.device.app import app
from maclip_runtime import Recognizer
from maclip_runtime.diagnosis.report import SCHEMA, Finding
from maclip_runtime.diagnosis.sheet import write_findings
from maclip_runtime.errors import MaclipError

PAGE = (Path(__file__).parents[3] / "docs" / "gallery.md").read_text("utf-8")


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


@pytest.fixture
def doctored(bundle: Path, clips: Path, gallery: Path) -> Path:
    """A class with a clip of another one's action, and one whose second clip is its first."""
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        for seed in (90, 91):
            green = color_frames("green", 10, seed=seed)
            recognizer.enroll_frames("go on", green, duration_s=1.0, no_text=True, force=True)
        recognizer.enroll("stop", [clips / f"{name}.mp4" for name in ("red1", "red2", "red3")], no_text=True)
        recognizer.enroll("stop", clips / "green2.mp4", no_text=True, force=True)  # clip 6
        for _ in range(2):
            recognizer.enroll("blue light", clips / "blue1.mp4", no_text=True, force=True)
    return gallery


def test_people_read_findings_and_run_their_commands(bundle: Path, doctored: Path, tmp_path: Path) -> None:
    both = ("--bundle", bundle, "--gallery", doctored)
    done = run("gallery", "doctor", *both, "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.exception
    assert "clips are answered right by the rest of the gallery." in done.stdout
    assert "finding 1, misplaced: Clip 6 (green2.mp4) of 'stop' looks like 'go on'" in done.stdout
    assert "duplicate: Clips 7 (blue1.mp4) and 8" in done.stdout
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("    maclip-run ")]
    assert len(commands) >= 4
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width >= 900
        assert sheet.height > 3 * 100
    for command in commands[:3]:  # remove, enroll where it belongs, remove the duplicate
        words = shlex.split(command)
        assert run(*words[1:]).exit_code == 0, command
    (finding,) = json.loads(run("gallery", "doctor", *both, "--json").stdout)["findings"]
    assert (finding["kind"], finding["classes"]) == ("one-clip", ["blue light"])


def test_programs_read_one_object_whose_keys_are_documented(bundle: Path, doctored: Path) -> None:
    done = run("gallery", "doctor", "--bundle", bundle, "--gallery", doctored, "--json")
    found = json.loads(done.stdout)
    assert found["schema"] == SCHEMA
    assert found["gallery"] == str(doctored)
    assert found["right"] < found["tested"]
    keys = {*found, *found["classes"][0], *found["clips"][0], *found["curve"][0], *found["findings"][0]}
    assert {key for key in keys if f"`{key}`" not in PAGE} == set()
    kinds = {one["kind"] for one in found["findings"]}
    assert {kind for kind in kinds if f"`{kind}`" not in PAGE} == set()


def test_a_good_gallery_has_no_findings_and_no_picture(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    done = run("gallery", "doctor", "--bundle", bundle, "--gallery", enrolled, "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.exception
    assert "4 of 4 clips are answered right" in done.stdout
    assert "No findings." in done.stdout
    assert not (tmp_path / "sheet.png").exists()


def test_an_empty_gallery_is_a_finding_and_a_missing_one_an_error(bundle: Path, enrolled: Path, gallery: Path) -> None:
    for name in ("red light", "green light"):
        assert run("gallery", "remove", name, "--gallery", enrolled).exit_code == 0
    done = run("gallery", "doctor", "--bundle", bundle, "--gallery", enrolled)
    assert done.exit_code == 0, done.exception
    assert "The gallery has no classes." in done.stdout
    missing = run("gallery", "doctor", "--bundle", bundle, "--gallery", gallery.with_name("missing.db"))
    assert isinstance(missing.exception, MaclipError)
    assert missing.exception.code == "gallery-missing"
    assert not gallery.with_name("missing.db").exists()


def test_a_picture_of_odd_findings(
    bundle: Path, enrolled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maclip_runtime.diagnosis.sheet.MAX_ROWS", 6)
    with Recognizer.open(bundle, enrolled, threads=1) as recognizer:
        ids = [clip.id for clip in recognizer.gallery.clips()]
        odd = [
            Finding("confused", "手を振る " * 60, "x" * 500, (), ("手を振る",), (ids[0], ids[2])),
            Finding("one-clip", "", "", (), (), (ids[1],)),
            Finding("stale-limit", "No clip.", "None.", (), (), ()),
            Finding("duplicate", "A clip that is gone.", "None.", (), (), (999, ids[0])),
        ]
        write_findings(odd * 3, recognizer.gallery, tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.width < 2000
            assert 6 * 60 < sheet.height < 6 * 600
        with pytest.raises(MaclipError) as caught:
            write_findings(odd, recognizer.gallery, tmp_path / "absent" / "sheet.png")
        assert caught.value.code == "output-unwritable"
