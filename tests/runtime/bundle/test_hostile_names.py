"""Odd names and numbers that are no numbers, through the whole runtime and out again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maclip_runtime import MaclipError, Recognizer
from maclip_runtime.reading.frames import Floats

KEPT = [
    'it\'s "quoted" `here` $(touch hurt) \\n %s {0}',
    "'; DROP TABLE clips; --",
    "../../etc/passwd",
    "/dev/null",
    "[bold red]markup[/bold red] [/]",
    "-rf --json",
    "ريقة التلويح",
    "ריקוד",
    "👋🏽 waving 👩‍👩‍👧",
    "名" * 60,
    "NULL",
    "nan",
    "e\u0301te\u0301",
]
REFUSED = ["", " \n\t ", "\x1b[31mred", "a\x00b", "left\u202eright", "unknown", "Uncertain", "x" * 100_000, "\u200d"]


@pytest.mark.parametrize("name", KEPT)
def test_odd_names_come_out_as_they_went_in(bundle: Path, clips: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with Recognizer.open(bundle, place / "gallery.db") as recognizer:
        recognizer.enroll(name, clips / "red1.mp4", no_text=True)
        recognizer.enroll("other", clips / "green1.mp4", no_text=True)
        assert [known.name for known in recognizer.classes()] == [name, "other"]
        assert recognizer.classify(clips / "red2.mp4").nearest == name
        assert {event.label for event in recognizer.watch(clips / "red2.mp4", window_s=0.4, hop_s=0.1)} == {name}
        recognizer.rename(name, "plain")
        recognizer.rename("plain", name)
        assert recognizer.remove(name) == 1
    assert {file.name for file in place.iterdir()} <= {"gallery.db", "gallery.db-wal", "gallery.db-shm"}
    assert [file.name for file in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize("name", REFUSED, ids=range(len(REFUSED)))
def test_names_that_nobody_could_read_are_refused(bundle: Path, clips: Path, gallery: Path, name: str) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll(name, clips / "red1.mp4", no_text=True)
        assert caught.value.code == "name-invalid"
        assert len(caught.value.message) < 1000
        assert recognizer.classes() == []


def test_lines_in_a_name_are_joined(bundle: Path, clips: Path, gallery: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("two\r\nlines\u2028here", clips / "red1.mp4", no_text=True)
        assert [known.name for known in recognizer.classes()] == ["two lines here"]


def test_odd_names_are_printed_as_they_are(bundle: Path, clips: Path, gallery: Path) -> None:
    """One process for all: as JSON Lines and as a table."""
    with Recognizer.open(bundle, gallery) as recognizer:
        for name in KEPT:
            recognizer.enroll(name, clips / "red1.mp4", no_text=True, force=True)

    def listed(*more: str) -> str:
        command = [sys.executable, "-m", "maclip_cli.device", "gallery", "list", "--gallery", str(gallery), *more]
        wide = {**os.environ, "COLUMNS": "250"}
        done = subprocess.run(command, env=wide, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert [json.loads(line)["name"] for line in listed("--json").splitlines()] == KEPT
    assert "[bold red]markup[/bold red]" in listed()


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_features_that_are_no_numbers_never_enter_the_gallery(
    bundle: Path, clips: Path, enrolled: Path, monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    """As an engine in half precision gives them where it overflows."""
    with Recognizer.open(bundle, enrolled) as recognizer:
        before, whole = recognizer.classes(), recognizer.encoder.features

        def broken(frames: np.ndarray, text: Floats | None = None) -> Floats:
            features = whole(frames, text).copy()
            features[0, 1, 2] = number
            return features

        monkeypatch.setattr(recognizer.encoder, "features", broken)
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll("broken", clips / "blue1.mp4", no_text=True, force=True)
        assert caught.value.code == "features-invalid"
        with pytest.raises(MaclipError) as caught:
            recognizer.classify(clips / "red3.mp4")
        assert caught.value.code == "features-invalid"
        assert recognizer.classes() == before
        monkeypatch.undo()
        assert recognizer.classify(clips / "red3.mp4").label == "red light"
