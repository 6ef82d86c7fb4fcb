"""One class whose features overflow is left out and named; the others are answered as if it were not there."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maclip_runtime import Recognizer
from maclip_runtime.engines.encoder import Encoder, Match
from maclip_runtime.errors import MaclipError

HUGE = np.full((4, 12), 1e38, np.float32)


def spoil(gallery: Path, column: str, array: np.ndarray, name: str = "blue light") -> None:
    """As a program writes it that checks nothing."""
    connection = sqlite3.connect(gallery)
    with connection:
        connection.execute(f"UPDATE clips SET {column} = ? WHERE class = ?", (array.tobytes(), name))
        connection.execute("DELETE FROM prototypes")
        connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
    connection.close()


@pytest.fixture
def answered(bundle: Path, enrolled: Path, clips: Path) -> list[Any]:
    """What the gallery answers before the class is added that is spoiled then."""
    with Recognizer.open(bundle, enrolled) as recognizer:
        found = [recognizer.classify(clips / name) for name in ("red3.mp4", "green1.mp4")]
        recognizer.enroll("blue light", [clips / "blue1.mp4", clips / "red3.mp4"], force=True)
        return found


@pytest.mark.parametrize("column", ["features", "text"])
def test_others_are_answered(
    bundle: Path, enrolled: Path, clips: Path, answered: list[Any], column: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(enrolled, column, HUGE if column == "features" else HUGE[0])
    with Recognizer.open(bundle, enrolled) as recognizer, caplog.at_level(logging.WARNING, "maclip"):
        for before, name in zip(answered, ("red3.mp4", "green1.mp4"), strict=True):
            after = recognizer.classify(clips / name)
            assert after.label == before.label
            assert set(after.distances) == {"red light", "green light"}
            assert after.distances == before.distances
        assert recognizer.index.ready().left_out == ("blue light",)
        assert [info.name for info in recognizer.classes()] == ["red light", "green light", "blue light"]
        recognizer.calibrate()
        list(recognizer.watch(clips / "red3.mp4"))
        assert caplog.text.count("'blue light' cannot be matched and is left out") == 1
        recognizer.remove("blue light")
        assert recognizer.index.ready().left_out == ()


def test_a_class_that_overflows_in_the_match_graph_only(
    bundle: Path, enrolled: Path, clips: Path, answered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in half precision: each number is finite, their sum is not, and one NaN makes all probabilities NaN."""
    spoil(enrolled, "features", np.full((4, 12), 77.0, np.float32))
    with Recognizer.open(bundle, enrolled) as recognizer:
        match = recognizer.encoder.match

        def overflows(features: Any, prototypes: Any, *others: Any, **options: Any) -> Match:
            found = match(features, prototypes, *others, **options)
            bad = np.abs(prototypes).max(axis=(1, 2)) > 50
            found.distances[:, bad] = np.nan
            if bad.any():
                found.probabilities[:] = np.nan
            return found

        monkeypatch.setattr(recognizer.encoder, "match", overflows)
        assert recognizer.classify(clips / "red3.mp4").distances == answered[0].distances
        assert recognizer.index.ready().left_out == ("blue light",)


def test_queries_that_overflow_do_not_spoil_the_limits(
    bundle: Path, enrolled: Path, clips: Path, answered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(enrolled, "query", HUGE)
    match = Encoder.match

    def overflows(self: Encoder, features: Any, *classes: Any, **options: Any) -> Match:
        found = match(self, features, *classes, **options)
        found.distances[np.abs(features).max(axis=(1, 2)) > 1e30] = np.nan
        return found

    monkeypatch.setattr(Encoder, "match", overflows)
    with Recognizer.open(bundle, enrolled) as recognizer:
        assert recognizer.classify(clips / "red3.mp4").label == "red light"
        assert np.isfinite(recognizer.index.ready().limits).all()
        assert all(np.isfinite(one.limit) for one in recognizer.calibrate().classes)


def test_a_gallery_of_nothing_else_is_corrupt(bundle: Path, enrolled: Path, clips: Path) -> None:
    for name in ("red light", "green light"):
        spoil(enrolled, "features", HUGE, name)
    with Recognizer.open(bundle, enrolled) as recognizer, pytest.raises(MaclipError) as caught:
        recognizer.classify(clips / "red3.mp4")
    assert caught.value.code == "gallery-corrupt"


def test_huge_features_are_not_enrolled(
    bundle: Path, enrolled: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        monkeypatch.setattr(recognizer.encoder, "features", lambda *_: HUGE[None])
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll("broken", clips / "blue1.mp4", no_text=True, force=True)
        assert caught.value.code == "features-invalid"
        assert len(recognizer.classes()) == 2


@pytest.mark.parametrize("seconds", [1e-9, 80_000.0])
def test_a_clip_of_an_odd_length_leaves_the_default_window_usable(
    bundle: Path, gallery: Path, clips: Path, seconds: float
) -> None:
    from videos import color_frames

    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll_frames("red light", color_frames("red", 8), duration_s=seconds, force=True)
        recognizer.stream()
        assert list(recognizer.watch(clips / "red3.mp4"))
