"""Untrimmed videos and their annotations: what is read, refused and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from videos import color_frames, write_video

from maclip.data.check_untrimmed import check_untrimmed
from maclip.data.untrimmed import UntrimmedVideo, open_untrimmed, read_annotations
from maclip.segments import Segment
from maclip_runtime.errors import MaclipError


def _entry(*segments: tuple[Any, Any, Any], **more: Any) -> dict[str, Any]:
    return {"annotations": [{"segment": [s, e], "label": label} for s, e, label in segments], **more}


def _write(folder: Path, database: Any, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    folder.mkdir(exist_ok=True)
    path = folder / "annotations.json"
    path.write_text(database if isinstance(database, str) else json.dumps(database))
    return path


def test_the_forms_that_data_sets_have_are_read(tmp_path: Path) -> None:
    entries = {
        "a": _entry((4, 6.5, "HighJump"), (0.5, 2, "long jump"), subset="training", duration=9),
        "b": _entry((1, 2, "long jump"), subset="Validation"),
        "c": _entry(subset="test", file="deep/c.mkv"),
        "d": _entry((1, 9.3, "wave_hand"), duration_second=9.0),
    }
    path = _write(tmp_path, entries, "a.mp4", "v_b.webm", "deep/c.mkv", "d.avi", "notes.txt")
    found = open_untrimmed(path)
    assert [video.path.name for video in found] == ["a.mp4", "v_b.webm", "c.mkv", "d.avi"]
    assert [video.split for video in found] == ["train", "val", "test", None]
    assert found[0].segments == (Segment("long jump", 0.5, 2), Segment("high jump", 4, 6.5))
    assert found[2] == UntrimmedVideo(tmp_path / "deep" / "c.mkv", (), "test", None)
    assert found[3].segments == (Segment("wave hand", 1, 9.0),)  # an end that was rounded up
    path.write_text(json.dumps({"version": "1", "taxonomy": [], "database": entries}))
    assert open_untrimmed(path) == found


def test_videos_lie_in_another_folder_or_in_one_for_each_subset(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    entries = {"a": _entry((0, 1, "run"), subset="training"), "b": _entry((0, 1, "run"), subset="training")}
    path = _write(tmp_path / "lists", entries)
    _write(tmp_path / "videos", {}, "training/v_a.mp4", "b.mp4")
    assert [video.path.name for video in open_untrimmed(path, tmp_path / "videos")] == ["v_a.mp4", "b.mp4"]
    with pytest.raises(MaclipError, match="There is no folder") as error:
        open_untrimmed(path, tmp_path / "nowhere")
    assert error.value.code == "data-missing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "no object of videos"),
        ("{}", "names no video"),
        ('{"database": 3}', "no object of videos"),
        ('{"classes": {"a": {"name": "b"}}}', "no video in it has annotations"),
        ('{"a": {"annotations": []}, "a": {"annotations": []}}', "given twice"),
        ("[" * 100_000, "deeply|is not JSON"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(MaclipError, match=message) as error:
        open_untrimmed(_write(tmp_path, content))
    assert error.value.code == "annotations-invalid"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"\xff": 1}')
    for name in ("a.json", "missing.json"):
        with pytest.raises(MaclipError) as error:
            open_untrimmed(tmp_path / name)
        assert error.value.code == "annotations-invalid"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (_entry((2, 1, "run")), "does not end after it starts"),
        (_entry((1, 1, "run")), "does not end after it starts"),
        (_entry((-1, 1, "run")), "does not end after it starts"),
        (_entry((float("nan"), 1, "run")), "not two numbers"),
        (_entry((0, float("inf"), "run")), "not two numbers"),
        (_entry((0, 10**400, "run")), "not two numbers"),
        (_entry(("0", 1, "run")), "not two numbers"),
        (_entry((0, 1, "")), "not made of words"),
        (_entry((0, 1, 17)), "not made of words"),
        (_entry((0, 1, "17")), "not made of words"),
        (_entry((0, 11, "run"), duration=10), "leaves the video"),
        (_entry((10, 10.2, "run"), duration=10), "leaves the video"),
        (_entry((0, 2, "run"), (1, 3, "Run")), "overlap"),
        (_entry((0, 2, "run"), duration=-3), "duration"),
        (_entry((0, 2, "run"), subset="both"), "subset"),
        (_entry((0, 2, "run"), file="../a.mp4"), "not a path inside"),
        (_entry((0, 2, "run"), file="..\\a.mp4"), "not a path inside"),
        (_entry((0, 2, "run"), file="/etc/passwd"), "not a path inside"),
        (_entry((0, 2, "run"), file="C:/a.mp4"), "not a path inside"),
        (_entry((0, 2, "run"), file=3), "not a path inside"),
        ({"annotations": {}}, "no list"),
        ({"annotations": [[0, 1, "run"]]}, "no segment and label"),
        ({"annotations": [{"segment": [0, 1, 2], "label": "run"}]}, "not two numbers"),
        (3, "no object"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(tmp_path: Path, entry: Any, message: str) -> None:
    path = _write(tmp_path, {"good": _entry((0, 1, "run")), "a": entry}, "a.mp4", "good.mp4")
    found = read_annotations(path)
    assert [video.path.name for video in found.videos] == ["good.mp4"]
    assert {problem.video for problem in found.problems} == {"a"}
    with pytest.raises(MaclipError, match=message) as error:
        open_untrimmed(path, skip_missing=True)
    assert error.value.code == "annotations-invalid"


def test_an_id_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    _write(tmp_path, {}, "a.mp4")
    path = _write(tmp_path / "in", {"../a": _entry((0, 1, "run"))})
    with pytest.raises(MaclipError, match="not a path inside"):
        open_untrimmed(path)


def test_one_file_under_two_ids_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, {"a": _entry((0, 1, "run")), "b": _entry((0, 1, "run"), file="a.mp4")}, "a.mp4")
    with pytest.raises(MaclipError, match="'a' is the same file"):
        open_untrimmed(path)


def test_missing_videos_are_refused_or_skipped(tmp_path: Path) -> None:
    path = _write(tmp_path, {"a": _entry((0, 1, "run")), "b": _entry((0, 1, "run"))}, "a.mp4")
    with pytest.raises(MaclipError, match="there is no video") as error:
        open_untrimmed(path)
    assert error.value.code == "clips-missing"
    assert len(open_untrimmed(path, skip_missing=True)) == 1
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(MaclipError) as error:
        open_untrimmed(path, skip_missing=True)
    assert error.value.code == "data-empty"


def test_check_counts_and_names_what_cannot_be_used(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4", "short.mp4"):
        write_video(tmp_path / name, color_frames("red", 3 if name == "short.mp4" else 40))  # 10 frames a second
    (tmp_path / "broken.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:200])
    entries = {
        "a": _entry((0, 2, "run"), (1, 3, "wave"), (3, 4.2, "run"), subset="training"),
        "b": _entry((0, 3, "run"), subset="testing"),
        "c": _entry((0, 1, "run"), (3, 5, "wave"), subset="training"),
        "short": _entry(subset="training"),
        "broken": _entry(),
        "gone": _entry((0, 1, "run")),
        "odd": _entry((1, 0, "run")),
    }
    seen: list[tuple[int, int]] = []
    path = _write(tmp_path, entries)
    report = check_untrimmed(path, None, 8, lambda done, total: seen.append((done, total)))
    assert [(one.name, one.split, one.videos, one.segments) for one in report.names] == [
        ("run", "test", 1, 1),
        ("run", "train", 1, 2),
        ("wave", "train", 1, 1),
    ]
    assert report.names[1].seconds == pytest.approx((1.2, 1.6, 2.0))
    assert (report.videos, report.seconds, report.annotated_seconds) == (2, pytest.approx(8), pytest.approx(7.2))
    assert (report.overlaps, report.several_splits, report.without_segments) == (1, ("run",), 0)
    assert [(Path(one.clip).name, one.code) for one in report.problems] == [
        ("gone", "clips-missing"),
        ("odd", "annotations-invalid"),
        ("odd", "clips-missing"),
        ("c.mp4", "annotations-invalid"),
        ("short.mp4", "clip-too-short"),
        ("broken.mp4", "clip-unreadable"),
    ]
    assert seen[-1] == (5, 5)
