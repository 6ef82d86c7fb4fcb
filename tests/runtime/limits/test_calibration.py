"""Limits by class: against background, negatives or the other classes; kept, stale, cleared."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_bundle
from videos import color_frames, color_video

from maclip_runtime import Recognizer
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.limits.calibrate import Background, runs
from maclip_runtime.limits.figure import draw
from maclip_runtime.limits.intervals import count_interval, share_interval
from maclip_runtime.tools.bench.figure import require_matplotlib


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blue for 6 s: likeliest one of the classes, but none of them."""
    return color_video(tmp_path_factory.mktemp("background") / "blue.mp4", [("blue", 6.0)], seed=50)


def test_a_class_of_one_clip_learns_what_strangers_are(
    bundle: Path, gallery: Path, clips: Path, background: Path
) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        done = recognizer.enroll("red light", clips / "red1.mp4")
        assert "nothing is unknown yet" in done.notes[0]
        assert recognizer.classify(clips / "blue1.mp4").label == "red light"  # the gap
        with pytest.raises(MaclipError) as caught:
            recognizer.calibrate()
        assert caught.value.code == "background-missing"
        (one,) = recognizer.calibrate(background).classes
        assert one.miss_interval is None  # one clip says nothing about misses
        assert 0 < one.limit < min(one.strangers)
        assert recognizer.classify(clips / "blue1.mp4").label == "unknown"
        assert recognizer.classify(clips / "red2.mp4").label == "red light"


def test_negatives_do_it_too(bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("red light", clips / "red1.mp4")
        assert recognizer.add_negatives(clips / "green1.mp4") == 1
        assert recognizer.classify(clips / "green2.mp4").label == "unknown"
        assert recognizer.classify(clips / "red2.mp4").label == "red light"
        assert [info.name for info in recognizer.classes()] == ["red light"]
        assert recognizer.gallery.remove_negatives() == 1
        assert recognizer.classify(clips / "green2.mp4").label == "red light"


@pytest.mark.parametrize("learned", [True, False])
def test_a_learned_limit_decides_and_negatives_lower_it(
    tmp_path: Path, clips: Path, enrolled: Path, learned: bool
) -> None:
    folder = write_bundle(tmp_path / "bundle", limit=5.0, learned=learned)
    with Recognizer.open(folder, enrolled) as recognizer:
        limits = recognizer.index.ready().limits
        measured = limits[0]
        assert (limits == np.float32(5.0)).all() == learned
        recognizer.add_negatives(clips / "blue1.mp4")
        lowered = recognizer.index.ready().limits[0]
        assert lowered < measured if learned else lowered <= measured
        recognizer.gallery.remove_negatives()
        assert recognizer.index.ready().limits[0] == measured


def test_negatives_never_raise_a_learned_limit(tmp_path: Path, clips: Path, enrolled: Path) -> None:
    with Recognizer.open(write_bundle(tmp_path / "bundle", limit=-1.0, learned=True), enrolled) as recognizer:
        recognizer.add_negatives(clips / "blue1.mp4")
        assert (recognizer.index.ready().limits == -1.0).all()


def test_limits_lie_between_own_clips_and_background(bundle: Path, enrolled: Path, background: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        done = recognizer.calibrate(background, window_s=1.0, hop_s=0.5)
        for one in done.classes:
            assert max(one.own) < one.limit < min(one.strangers)
            assert (one.misses, one.accepted, one.alarms) == (0, 0, 0)
        # No alarm in six seconds says little: an upper bound of 3.69 in that time.
        assert done.hours == pytest.approx(6 / 3600, rel=0.2)
        assert done.alarms_an_hour_interval == pytest.approx((0.0, 3.689 / done.hours), rel=1e-3)
        kept = recognizer.gallery.limits()
        assert {name: limit.value for name, limit in kept.items()} == {one.name: one.limit for one in done.classes}
        answer = recognizer.classify(background)
        assert (answer.label, answer.limit) == ("unknown", pytest.approx(kept[answer.nearest].value, rel=1e-6))


def test_an_aim_for_false_alarms_is_kept(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    # Background that looks like red for a moment.
    mixed = color_video(tmp_path / "mixed.mp4", [("blue", 4.0), ("red", 1.5), ("blue", 4.0)], seed=60)
    with Recognizer.open(bundle, enrolled) as recognizer:
        strict = recognizer.calibrate(mixed, false_alarms=0.0).classes[0]
        assert (strict.name, strict.alarms) == ("red light", 0)
        loose = recognizer.calibrate(mixed, false_alarms=400.0).classes[0]
        assert loose.alarms == 1  # windows that share frames are one alarm
        assert loose.accepted > 1
        assert strict.limit < loose.limit
        with pytest.raises(MaclipError) as caught:
            recognizer.calibrate((), false_alarms=1.0)
        assert caught.value.code == "option-invalid"


def test_another_clip_makes_a_limit_stale_and_removing_it_brings_it_back(
    bundle: Path, enrolled: Path, clips: Path, background: Path
) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        before = recognizer.classify(clips / "red3.mp4").limit
        recognizer.calibrate(background)
        calibrated = recognizer.classify(clips / "red3.mp4").limit
        assert calibrated != pytest.approx(before)
        done = recognizer.enroll("red light", clips / "red3.mp4")
        assert "calibrate again" in done.notes[0]
        assert [(info.name, info.stale) for info in recognizer.classes()] == [
            ("red light", True),
            ("green light", False),
        ]
        assert recognizer.classify(clips / "red3.mp4").limit != pytest.approx(calibrated)
        recognizer.remove("red light", clip_id=recognizer.gallery.clips("red light")[-1].id)
        recognizer.rename("red light", "stop")  # a name is no part of it
        assert recognizer.classify(clips / "red3.mp4").limit == pytest.approx(calibrated)
        recognizer.gallery.keep_limits([])
        assert recognizer.classify(clips / "red3.mp4").limit == pytest.approx(before, rel=1e-5)


def test_without_background_the_other_classes_stand_for_it(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        done = recognizer.calibrate()
    assert done.alarms_an_hour is None
    assert [len(one.strangers) for one in done.classes] == [2, 2]
    draw(done, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(MaclipError) as caught:
        draw(done, tmp_path / "absent" / "figure.png")
    assert caught.value.code == "output-unwritable"


def test_a_camera_as_background_needs_an_end(bundle: Path, enrolled: Path, background: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        with pytest.raises(MaclipError) as caught:
            recognizer.calibrate("rtsp://me:secret@camera/1")
        assert caught.value.code == "option-invalid"
        assert "secret" not in caught.value.message
        short = recognizer.calibrate(background, window_s=1.0, hop_s=0.5, seconds=2.0)
        assert short.hours < 3 / 3600


def test_intervals_are_those_of_the_books() -> None:
    # Wilson for 1 of 10, and Garwood for 0, 1 and 10 events.
    assert share_interval(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert share_interval(0, 0) is None
    for count, expected in ((0, (0.0, 3.689)), (1, (0.0253, 5.572)), (10, (4.795, 18.39)), (500, (457.1, 545.8))):
        assert count_interval(count) == pytest.approx(expected, rel=1e-3)


def test_windows_that_share_frames_are_one_alarm_and_videos_do_not_join() -> None:
    features = np.zeros((7, 4, 12), np.float32)
    seen = Background(features, np.array([0, 0, 0, 0, 1, 1, 1]), 7.0, "two videos", reach=1)
    assert runs(np.array([], np.int64), seen) == 0
    assert runs(np.array([0, 1, 3]), seen) == 2
    assert runs(np.array([0, 1, 3]), dataclasses.replace(seen, reach=2)) == 1
    assert runs(np.array([2, 3, 4, 5]), seen) == 2


def test_a_negative_may_be_still_but_not_come_twice(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        assert recognizer.add_negatives([clips / "blue1.mp4"]) == 1
        with pytest.raises(MaclipError) as caught:
            recognizer.add_negatives([clips / "blue1.mp4"])
        assert caught.value.code == "clip-rejected"
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll_frames("blue light", color_frames("blue", 10, seed=5)[:, :, :, :2], duration_s=1.0)
        assert caught.value.code == "frames-invalid"


def test_figures_need_matplotlib_and_say_so(
    bundle: Path, enrolled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        done = recognizer.calibrate()
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    monkeypatch.setattr("maclip_runtime.tools.bench.figure.find_spec", lambda _: None)
    for drawing in (lambda: draw(done, tmp_path / "figure.png"), require_matplotlib):
        with pytest.raises(MaclipError) as caught:
            drawing()
        assert (caught.value.code, caught.value.exit_code) == ("figures-missing", EXIT_MACHINE_LACKS)
        assert "maclip[figures]" in caught.value.fix
    assert not list(tmp_path.glob("*.png"))
