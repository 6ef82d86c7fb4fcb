"""Enroll, classify, watch, embed: the device's Python interface, on a tiny bundle and drawn clips."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from videos import color_frames, color_video

from maclip_runtime import Decisions, Event, Recognizer
from maclip_runtime.errors import MaclipError


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red for 4 s, blue (enrolled nowhere) for 4 s, green for 4 s."""
    parts = [("red", 4.0), ("blue", 4.0), ("green", 4.0)]
    return color_video(tmp_path_factory.mktemp("long") / "long.mp4", parts, seed=9)


def ends(events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind == "end"]


def test_classify_known_and_unknown(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        red = recognizer.classify(clips / "red3.mp4")
        assert (red.label, red.nearest, red.unknown) == ("red light", "red light", False)
        assert red.distance == red.distances["red light"] < red.distances["green light"]
        assert red.score == red.probabilities["red light"] > 0.9
        assert red.margin == pytest.approx(red.score - red.probabilities["green light"])
        assert sum(red.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
        blue = recognizer.classify(clips / "blue1.mp4")
        assert (blue.label, blue.unknown) == ("unknown", True)
        assert blue.limit is not None
        assert blue.distance > blue.limit


def test_users_own_limits_come_first(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled, decisions=Decisions(limit=99.0)) as recognizer:
        assert not recognizer.classify(clips / "blue1.mp4").unknown
    with Recognizer.open(bundle, enrolled, decisions=Decisions(limit=-1.0)) as recognizer:
        assert recognizer.classify(clips / "red3.mp4").unknown
    with Recognizer.open(bundle, enrolled, decisions=Decisions(min_score=1.0)) as recognizer:
        assert recognizer.classify(clips / "red3.mp4").unknown


def test_a_single_class_of_one_clip(bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("red light", clips / "red1.mp4")
        answer = recognizer.classify(clips / "red2.mp4")
        assert (answer.label, answer.score, answer.limit) == ("red light", 1.0, None)


def test_text_of_a_class(bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll("stop", clips / "red1.mp4", text="stop it")
        assert caught.value.code == "name-unknown"
        assert not gallery.exists()
        assert recognizer.enroll("stop", clips / "red1.mp4", text="Red Light").text_name == "Red Light"
        assert recognizer.enroll("stop", clips / "red2.mp4").text_name == "Red Light"  # as before
        assert recognizer.enroll("go", clips / "green1.mp4", no_text=True).text_name is None
        assert recognizer.enroll("go", clips / "green2.mp4").clips == 2  # "go" needs no text still
        clip = recognizer.gallery.clips("go")[0]
        assert clip.text is None
        np.testing.assert_array_equal(clip.features, clip.query)
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll("stop", clips / "red3.mp4", text="red light", no_text=True)
        assert caught.value.code == "text-conflict"
        assert recognizer.classify(clips / "red3.mp4").label == "stop"


def test_a_name_outside_the_vocabulary_goes_without_text_and_says_so(bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        done = recognizer.enroll("opening the door", [clips / "red1.mp4", clips / "red2.mp4"])
        assert done.text_name is None
        (note,) = done.notes
        assert note.startswith("Enrolled without text: 'opening the door' is not among the bundle's 6 action names")
        assert "'opening a door'" in note
        assert "--text" in note
        # Said once, and not where nobody would expect a text.
        assert recognizer.enroll("opening the door", clips / "red3.mp4").notes == ()
        asked = recognizer.enroll("closing the door", [clips / "green1.mp4", clips / "green2.mp4"], no_text=True)
        assert asked.notes == ()


@pytest.mark.parametrize("name", ["", "  ", "unknown", "Unknown", "a\x00b"])
def test_names_that_cannot_be(bundle: Path, gallery: Path, clips: Path, name: str) -> None:
    with Recognizer.open(bundle, gallery) as recognizer, pytest.raises(MaclipError) as caught:
        recognizer.enroll(name, clips / "red1.mp4", no_text=True)
    assert caught.value.code == "name-invalid"


def test_one_bad_clip_enrolls_none(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    short = color_video(tmp_path / "short.mp4", [("red", 0.2)])
    for bad, code in [(tmp_path / "missing.mp4", "clip-unreadable"), (short, "clip-too-short")]:
        with Recognizer.open(bundle, enrolled) as recognizer:
            before = recognizer.gallery.generation
            with pytest.raises(MaclipError) as caught:
                recognizer.enroll("red light", [clips / "red3.mp4", bad])
            assert caught.value.code == code
            assert recognizer.gallery.generation == before
            assert recognizer.classes()[0].clips == 2


def test_watch_finds_what_happens_when(bundle: Path, enrolled: Path, long_video: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        events = list(recognizer.watch(long_video))
    found = ends(events)
    assert [event.label for event in found] == ["red light", "unknown", "green light"]
    times = [(event.start_s, event.end_s) for event in found]
    np.testing.assert_allclose(times, [(0, 4), (4, 8), (8, 12)], atol=0.6)
    assert times[-1][1] == pytest.approx(12.0, abs=1e-6)
    assert found[0].source == str(long_video)
    kinds = [event.kind for event in events if event.label == "red light"]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert set(kinds[1:-1]) == {"update"}


def test_window_and_hop_are_settings(bundle: Path, enrolled: Path, long_video: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        fine = list(recognizer.watch(long_video, window_s=1.0, hop_s=0.1))
        coarse = list(recognizer.watch(long_video, window_s=1.0, hop_s=1.0))
        assert len(fine) > 2 * len(coarse)  # a hop of a T-th of the window is the finest
        with pytest.raises(MaclipError) as caught:
            recognizer.watch(long_video, window_s=0.0)
        assert caught.value.code == "window-invalid"


def test_source_shorter_than_a_window_is_one_window(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        events = list(recognizer.watch(clips / "red3.mp4", window_s=30.0))
        assert [(event.kind, event.label) for event in events] == [("start", "red light"), ("end", "red light")]
        assert (events[-1].start_s, events[-1].end_s) == pytest.approx((0.0, 1.0))
        assert events[0].score == pytest.approx(recognizer.classify(clips / "red3.mp4").score)


@pytest.fixture
def address(clips: Path, tmp_path: Path) -> Iterator[str]:
    """A short video on an HTTP server of this machine."""
    color_video(tmp_path / "red.avi", [("red", 1.0)], seed=2)
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://me:secret@127.0.0.1:{server.server_port}/red.avi?token=abc"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_address_is_watched_and_named_without_its_password(bundle: Path, enrolled: Path, address: str) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        for window_s in (0.5, 30.0):
            (end,) = ends(list(recognizer.watch(address, window_s=window_s)))
            assert end.label == "red light"
            assert end.source.startswith("http://***@127.0.0.1")
            assert "abc" not in end.source


def test_too_short_source(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    short = color_video(tmp_path / "short.mp4", [("red", 0.2)])
    with Recognizer.open(bundle, enrolled) as recognizer, pytest.raises(MaclipError) as caught:
        list(recognizer.watch(short))
    assert caught.value.code == "clip-too-short"


def test_empty_gallery_is_told_at_once(bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer, pytest.raises(MaclipError) as caught:
        recognizer.watch(clips / "red1.mp4")
    assert caught.value.code == "gallery-empty"


def test_running_watch_sees_a_new_class(bundle: Path, enrolled: Path, clips: Path, long_video: Path) -> None:
    with Recognizer.open(bundle, enrolled) as watching:
        events = watching.watch(long_video)
        first = next(events)
        assert first.label == "red light"
        with Recognizer.open(bundle, enrolled) as other:  # as another program would
            other.enroll("blue light", clips / "blue1.mp4")
        assert [event.label for event in ends(list(events))] == ["red light", "blue light", "green light"]


def test_running_watch_survives_an_emptied_gallery(bundle: Path, enrolled: Path, long_video: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        events = recognizer.watch(long_video)
        assert next(events).label == "red light"
        recognizer.remove("red light")
        recognizer.remove("green light")
        assert [event.label for event in ends(list(events))] == ["red light", "unknown"]


def test_enroll_from_another_thread(bundle: Path, enrolled: Path, clips: Path, long_video: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        events = recognizer.watch(long_video)
        next(events)
        thread = threading.Thread(target=recognizer.enroll, args=("blue light", clips / "blue1.mp4"))
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
        assert "blue light" in [event.label for event in ends(list(events))]


def test_embed_is_the_query_branch(bundle: Path, enrolled: Path) -> None:
    frames = color_frames("red", 10)
    with Recognizer.open(bundle, enrolled) as recognizer:
        features = recognizer.embed(frames)
        assert (features.shape, features.dtype) == ((4, 12), np.float32)
        np.testing.assert_allclose(features, recognizer.embed(frames[[1, 3, 6, 8]]), atol=1e-6)
        for bad, code in [(frames[:3], "clip-too-short"), (frames.astype(np.float32), "frames-invalid")]:
            with pytest.raises(MaclipError) as caught:
                recognizer.embed(bad)
            assert caught.value.code == code


def test_real_videos_are_recognised_or_unknown(bundle: Path, gallery: Path, shared_data: Path) -> None:
    sports = sorted((shared_data / "ibm_sports").rglob("*.mp4"))
    with Recognizer.open(bundle, gallery) as recognizer:
        for video in sports:
            recognizer.enroll(video.stem, video, no_text=True)
            assert recognizer.classify(video).label == video.stem
        for video in [*sorted((shared_data / "ucf101_c3d").rglob("*.avi")), *sports]:
            found = ends(list(recognizer.watch(video, window_s=2.0)))
            assert found
            assert all(0 <= event.start_s < event.end_s for event in found)
