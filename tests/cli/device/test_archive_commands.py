"""`maclip-run index` and `maclip-run find`: what people and programs read, the page and the sheet."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result
from videos import color_video

from maclip_cli.device.app import app
from maclip_runtime import Decisions, Recognizer
from maclip_runtime.sinks.record import event_record

pytest.importorskip("pyarrow")


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def filled(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, and hall.mp4, in which something red happens from 3 to 5 s."""
    folder = tmp_path_factory.mktemp("filled")
    video = color_video(folder / "hall <1>.mp4", [("blue", 3.0), ("red", 2.0), ("blue", 4.0)])
    done = run("index", video, "--store", folder / "store", "--bundle", bundle, "--window", 1, "--device", "cpu")
    assert done.exit_code == 0, done.exception
    assert re.match(r"Indexed \d\d windows of 1 video\.\n.* ms a window: decode \d+%, prepare", done.stdout)
    return folder


def test_index_says_what_was_there_and_what_could_not_be_read(filled: Path, bundle: Path, tmp_path: Path) -> None:
    again = run("index", filled, tmp_path / "none.mp4", "--store", filled / "store", "--bundle", bundle, "--json")
    facts = json.loads(again.stdout)
    assert (facts["windows"], len(facts["there"])) == (0, 1)
    assert facts["failed"] == {str(tmp_path / "none.mp4"): "clip-unreadable"}
    assert again.exception.code == "clip-unreadable"  # type: ignore[union-attr]


def test_a_new_store_takes_its_window_from_a_gallery(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    both = ("--store", tmp_path / "store", "--bundle", bundle)
    assert run("index", clips / "red1.mp4", *both, "--gallery", enrolled).exit_code == 0
    assert run("index", clips / "red2.mp4", *both, "--window", 0.75).exit_code == 0  # 3/4 of a second
    refused = run("index", clips / "red3.mp4", *both, "--window", 2)
    assert refused.exception.code == "archive-mismatch"  # type: ignore[union-attr]


def test_find_prints_writes_a_page_and_a_sheet(filled: Path, bundle: Path, clips: Path, tmp_path: Path) -> None:
    both = ("--store", filled / "store", "--bundle", bundle, "--top", 2)
    page, sheet = tmp_path / "report.html", tmp_path / "sheet.jpg"
    done = run("find", clips / "red1.mp4", *both, "--report", page, "--sheet", sheet)
    assert done.exit_code == 0, done.exception
    row = next(line for line in done.stdout.splitlines() if line.startswith("│ 1 "))
    assert "hall <1>.mp4" in row
    assert re.search(r"0:0[23]\.\d │ 0:0[45]\.\d", row)
    html = page.read_text("utf-8")
    assert "hall &lt;1&gt;.mp4" in html
    assert "<1>" not in html
    assert "http" not in html  # nothing is loaded from elsewhere
    strips = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="frames', html)
    assert len(strips) == 2
    (tmp_path / "strip.jpg").write_bytes(base64.b64decode(strips[0]))
    with Image.open(tmp_path / "strip.jpg") as strip:
        red, _, blue = strip.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
        assert red > 120 > blue
    with Image.open(sheet) as picture:
        assert picture.format == "JPEG"
        assert picture.height > 2 * 96


def test_find_gives_json_for_programs(filled: Path, bundle: Path, enrolled: Path) -> None:
    both = ("--store", filled / "store", "--bundle", bundle)
    done = run("find", "--class", "red light", "--gallery", enrolled, *both, "--top", 1, "--json")
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["schema"], found["kind"], found["rank"], found["video"]) == (1, "found", 1, "there")
    assert abs(found["start_s"] - 3.0) <= 0.5
    assert found["link"].endswith(f"hall%20%3C1%3E.mp4#t={found['start_s']:.2f},{found['end_s']:.2f}")
    assert run("find", "--class", "red light", "--gallery", enrolled, *both, "--since", "2999-01-01").exit_code == 0


def test_find_replays_events_as_recognize_gives_them(filled: Path, bundle: Path, enrolled: Path) -> None:
    both = ("find", "--events", "--store", filled / "store", "--bundle", bundle, "--gallery", enrolled)
    replayed = [json.loads(line) for line in run(*both, "--json", "--limit", 0.2).stdout.splitlines()]
    with Recognizer.open(bundle, enrolled, decisions=Decisions(limit=0.2), threads=1) as recognizer:
        watched = [event_record(event) for event in recognizer.watch(filled / "hall <1>.mp4", window_s=1)]
    keys = ("schema", "kind", "label", "source", "start_s", "end_s", "at")
    assert [[one[key] for key in keys] for one in replayed] == [[one[key] for key in keys] for one in watched]
    assert any(one["label"] == "red light" for one in replayed)
    people = run(*both)
    assert "start  red light  match" in people.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ("--events",),
        ("--class", "red light"),
        ("--since", "yesterday", "clip.mp4"),
        ("--events", "--gallery", "GALLERY", "clip.mp4"),
        (),
    ],
    ids=str,
)
def test_options_that_do_not_go_together(filled: Path, bundle: Path, enrolled: Path, wrong: tuple[str, ...]) -> None:
    given = [str(enrolled) if one == "GALLERY" else one for one in wrong]
    done = run("find", *given, "--store", filled / "store", "--bundle", bundle)
    assert done.exception.code == "option-invalid"  # type: ignore[union-attr]


def test_pictures_that_cannot_be_written(filled: Path, bundle: Path, clips: Path, tmp_path: Path) -> None:
    both = ("find", clips / "red1.mp4", "--store", filled / "store", "--bundle", bundle, "--top", 1)
    for option, file in (("--report", "none/a.html"), ("--sheet", "none/a.jpg"), ("--sheet", "a.xyz")):
        done = run(*both, option, tmp_path / file)
        assert done.exception.code == "output-unwritable"  # type: ignore[union-attr]
