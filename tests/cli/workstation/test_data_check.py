"""`maclip data check` on untrimmed videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from videos import color_frames, write_video

from maclip_cli.workstation.app import app
from maclip_runtime.errors import MaclipError


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", color_frames("red", 40))
    marked = [{"segment": [0, 2], "label": "run"}, {"segment": [1, 3], "label": "wave"}]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"database": {"a": {"subset": "training", "annotations": marked}}}))
    return path


def test_untrimmed_videos_are_counted(annotations: Path) -> None:
    arguments = ["data", "check", str(annotations), "--videos", str(annotations.parent / "videos")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Segments of different actions that overlap, which is allowed: 1." in done.output
    assert "Readable videos: 1, 0.1 minutes in all, 75% of them annotated." in done.output
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [(one["name"], one["split"], one["segments"]) for one in facts["names"]] == [
        ("run", "train", 1),
        ("wave", "train", 1),
    ]


def test_problems_end_with_exit_code_2(annotations: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", str(annotations)])  # the videos are in another folder
    assert done.exit_code == 2
    assert "clips-missing: 'a': there is no video" in done.output


def test_options_that_do_not_fit_are_refused(annotations: Path) -> None:
    for arguments in (["--lists", "."], ["--lists", ".", "--videos", "."]):
        done = CliRunner().invoke(app, ["data", "check", str(annotations), *arguments])
        assert isinstance(done.exception, MaclipError)
        assert done.exception.code == "option-invalid"
    done = CliRunner().invoke(app, ["data", "check", str(annotations.parent), "--videos", "."])
    assert isinstance(done.exception, MaclipError)
    assert done.exception.code == "option-invalid"
