"""Untrimmed videos of the drawn world."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from maclip.data.check_untrimmed import check_untrimmed
from maclip.data.untrimmed import open_untrimmed
from maclip.world.classes import classes
from maclip.world.streams import ACTION_SECONDS, REST_SECONDS, TRUE_OF_ALL, draw_stream, write_streams
from maclip_cli.workstation.app import app
from maclip_runtime.errors import MaclipError


def test_streams_are_written_with_annotations_that_open(tmp_path: Path) -> None:
    write_streams(tmp_path / "a", "motion", "val", streams=2, actions=3, seed=4)
    write_streams(tmp_path / "b", "motion", ("test", "val"), streams=1, actions=3, seed=4, workers=2)
    first, second = open_untrimmed(tmp_path / "a" / "annotations.json")
    again, other = open_untrimmed(tmp_path / "b" / "annotations.json")
    assert (first.path.name, again.path.name, other.path.name) == ("val-000.mp4", "val-000.mp4", "test-000.mp4")
    assert first.path.read_bytes() == again.path.read_bytes()  # whatever else is written
    assert first.segments == again.segments
    assert first.path.read_bytes() != second.path.read_bytes()
    cast = {c.name for c in classes("motion") if c.split == "val" and c.motion not in TRUE_OF_ALL}
    assert Counter(s.name for s in (*first.segments, *second.segments)) == dict.fromkeys(cast, 1)
    at = 0.0
    for segment in first.segments:
        assert REST_SECONDS[0] - 0.1 <= segment.start_s - at <= REST_SECONDS[1] + 0.1
        assert ACTION_SECONDS[0] - 0.1 <= segment.end_s - segment.start_s <= ACTION_SECONDS[1] + 0.1
        at = segment.end_s
    report = check_untrimmed(tmp_path / "a" / "annotations.json", None, 8)
    assert (report.videos, report.problems, report.overlaps) == (2, (), 0)
    assert report.seconds == pytest.approx((first.duration_s or 0) + (second.duration_s or 0), abs=0.01)


def test_the_actions_are_where_the_segments_say() -> None:
    right = next(c for c in classes("motion") if c.motion == "right")
    drawn = draw_stream([right, right], np.random.default_rng(0))
    moved = np.array([0, *(np.abs(np.diff(np.stack(list(drawn.frames)).astype(int), axis=0)).mean((1, 2, 3)))])
    assert len(moved) == drawn.count
    inside = np.zeros(drawn.count, bool)
    for one in drawn.segments:
        inside[round(one.start_s * 12) : round(one.end_s * 12)] = True
    assert np.median(moved[inside]) > 1.3 * np.median(moved[~inside])


def test_what_is_already_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(MaclipError) as error:
        write_streams(tmp_path, "motion", streams=1)
    assert error.value.code == "output-exists"


def test_synth_writes_streams_beside_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[object, ...]] = []
    monkeypatch.setattr("maclip.world.synth.write_clips", lambda *args, **kwargs: written.append(args[:2]))
    monkeypatch.setattr(
        "maclip.world.streams.write_streams",
        lambda *args, **kwargs: written.append((*args, kwargs["streams"], kwargs["seed"], kwargs["split_seed"])),
    )
    options = ["--family", "motion", "--seed", "3", "--split-seed", "4"]
    assert CliRunner().invoke(app, ["synth", str(tmp_path), *options, "--streams", "5"]).exit_code == 0
    assert written == [(tmp_path / "motion", "motion"), (tmp_path / "motion-streams", "motion", 5, 3, 4)]
    assert CliRunner().invoke(app, ["synth", str(tmp_path), *options]).exit_code == 0
    assert written[2:] == [(tmp_path / "motion", "motion")]
