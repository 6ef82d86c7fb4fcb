"""The overlay video, read again: its times, its pixels, and what becomes of it when things fail."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError
from maclip_runtime.overlay import Overlay, drawing, fonts
from maclip_runtime.overlay import recording as recording_module
from maclip_runtime.overlay.drawing import NO_CLASS, SHADE, TONES, Painter
from maclip_runtime.overlay.scene import Scene, SceneTracker
from maclip_runtime.overlay.writing import VideoWriter
from maclip_runtime.sources import Frame, SourceState, SourceStatus

FILE, CAMERA = "clips/a.mp4", "rtsp://***@camera/1"


def frame(index: int, time_s: float | None = None, size: tuple[int, int] = (480, 360), level: int = 128) -> Frame:
    pixels = np.full((size[1], size[0], 3), level, np.uint8)
    return Frame(pixels, index / 10 if time_s is None else time_s, index)


def verdict(label: str, match: float = 0.8) -> Verdict:
    return Verdict(label, "waving", 0.9, 0.2, 0.5, match=match)


def event(kind: str, label: str, start_s: float, end_s: float, source: str = FILE) -> Event:
    return Event(kind, label, 0.9, 0.5, start_s, end_s, source, match=0.8)  # type: ignore[arg-type]


def read(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(found.time) for found in frames], [found.to_ndarray(format="rgb24") for found in frames]


def near(pixels: np.ndarray, colour: tuple[int, ...], within: int = 40) -> int:
    """How many pixels are about of that colour."""
    return int((np.abs(pixels.astype(int) - np.array(colour[:3])).max(-1) < within).sum())


def told_scene() -> Scene:
    tracker = SceneTracker()
    tracker.verdict(verdict("waving"), 0.0, 5.0)
    tracker.event(event("start", "waving", 0.0, 5.0))
    tracker.verdict(verdict("unknown"), 5.0, 10.0)
    tracker.event(event("end", "waving", 0.0, 5.0))
    tracker.event(event("start", "unknown", 5.0, 10.0))
    return tracker.scene


def test_video_keeps_frames_and_times_and_shows_only_what_was_known(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    times = [0.0, 0.04, 0.5, 0.51, 2.0, 2.0, 3.25, 9.0]  # uneven, one twice
    with Overlay(path) as overlay:
        for index, time_s in enumerate(times):
            overlay.frame(FILE, frame(index, time_s))
            if index == 3:
                overlay.verdict(FILE, verdict("waving"), 0.0, 0.5)
                overlay.event(event("start", "waving", 0.0, 0.5))
        assert not path.exists()  # under its name only when whole
    assert overlay.dropped == 0
    read_times, pictures = read(path)
    assert read_times == pytest.approx([*times[:5], 2.001, *times[6:]], abs=1e-6)
    label = [picture[10:60, 10:250] for picture in pictures]
    assert [near(part, SHADE) > 2000 for part in label] == [False] * 4 + [True] * 4
    assert [near(part, (255, 255, 255)) > 200 for part in label] == [False] * 4 + [True] * 4
    assert all(near(picture[100:340], (128, 128, 128), 6) > 0.99 * 480 * 240 for picture in pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_label_has_the_match_of_the_latest_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between two updates of an event, which may be few."""
    tracker = SceneTracker()
    tracker.verdict(verdict("waving", 0.6), 0.0, 1.0)
    assert tracker.scene.headline
    assert tracker.scene.headline[0].match == 0.6
    tracker.event(event("start", "waving", 0.0, 1.0))
    tracker.verdict(verdict("waving", 0.75), 1.0, 2.0)
    shown: list[object] = []
    pill = drawing._pill
    monkeypatch.setattr(drawing, "_pill", lambda *told: shown.append(told[1]) or pill(*told))
    drawing.Painter(480, 360).paint(frame(0).pixels, 2.0, tracker.scene)
    assert shown == [0.75]


def test_timeline_shows_the_past_where_it_was() -> None:
    painter = Painter(600, 450)
    picture = painter.paint(frame(0, size=(600, 450)).pixels, 15.0, told_scene())
    strip = picture[450:].astype(int)
    row = strip[8]  # the answers, 20 px a second
    assert near(row[2:95], TONES[0], 5) > 90
    assert near(row[105:195], TONES[0]) == 0
    assert near(row[2:95], NO_CLASS) == 0
    assert len({tuple(pixel) for pixel in row[105:195]}) == 1
    assert near(strip[:, 299:302], (175, 180, 190), 5) >= strip.shape[0]  # now
    later = painter.paint(frame(0, size=(600, 450)).pixels, 33.0, told_scene())[450:]
    assert near(later[8, 2:35], TONES[0], 5) > 30  # 3 s have left on the left
    assert near(later[8, 45:], TONES[0]) == 0


def test_event_that_goes_on_grows_with_its_answers() -> None:
    tracker = SceneTracker()
    tracker.event(event("start", "unknown", 0.0, 1.0))
    tracker.verdict(verdict("unknown"), 1.0, 2.0)
    tracker.verdict(verdict("waving"), 2.0, 3.0)
    (span,) = tracker.scene.events
    assert (span.end_s, span.going_on) == (2.0, True)
    assert tracker.scene.headline == (span, True)
    tracker.event(event("end", "unknown", 0.0, 2.0))
    headline = tracker.scene.headline
    assert headline
    assert (headline[0].label, headline[1]) == ("waving", False)
    tracker.restarted(10.0)  # what was answered before says nothing of now
    assert tracker.scene.headline is None
    for second in range(1000):
        tracker.verdict(verdict("waving"), second, second + 1)
    assert len(tracker.scene.answers) < 100


def test_an_event_that_is_withdrawn_leaves_the_timeline() -> None:
    tracker = SceneTracker()
    tracker.event(event("start", "waving", 0.0, 1.0))
    tracker.event(replace(event("end", "waving", 0.0, 1.0), withdrawn=True))
    tracker.event(event("start", "jumping", 0.5, 2.0))
    assert [(span.label, span.going_on) for span in tracker.scene.events] == [("jumping", True)]


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("size", [(64, 48), (480, 640), (1600, 900), (2000, 10), (7, 300)])
def test_label_is_legible_on_any_picture(size: tuple[int, int], level: int) -> None:
    painter = Painter(*size)
    assert painter.width % 2 == painter.height % 2 == 0
    assert painter.width <= 1280
    picture = painter.paint(frame(0, size=size, level=level).pixels, 10.0, told_scene())
    assert picture.shape == (painter.height, painter.width, 3)
    corner = picture[: painter.height // 2, : painter.width // 2]
    if min(size) > 40:
        assert near(corner, SHADE, 60) > 800
        assert near(corner, (255, 255, 255), 60) > 60


@pytest.mark.parametrize(
    "label",
    [
        "ריקוד מהיר",
        "رقص",
        "鼓掌",
        "👋🏽👨‍👩‍👧",
        "two\nlines\x00",
        "\udcff",
        "x" * 5000,
        "",
        "\u202egnivaw",
        "á" * 100,
    ],
)
def test_any_name_is_drawn(label: str) -> None:
    tracker = SceneTracker()
    tracker.verdict(verdict(label), 0.0, 5.0)
    tracker.event(event("start", label, 0.0, 5.0))
    painter = Painter(320, 240)
    picture = painter.paint(frame(0, size=(320, 240)).pixels, 6.0, tracker.scene)
    assert near(picture[:240], SHADE) > 500
    assert fonts.printable(" two\nlines\x00\udcff ") == "two lines"
    assert near(picture[:240, painter.width - 4 :], SHADE) == 0  # it ends within the picture


def test_names_are_drawn_without_fontconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "COMMON_FONTS", ())
    monkeypatch.setattr(fonts.shutil, "which", lambda name: None)
    for cached in (fonts._file_for, fonts._load, fonts.fit):
        cached.cache_clear()
    try:
        assert fonts.length("waving 鼓掌", 20) > 60
    finally:
        for cached in (fonts._file_for, fonts._load, fonts.fit):
            cached.cache_clear()


def test_resolution_may_change_and_sources_get_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    with Overlay(path) as overlay:
        for index, size in enumerate([(400, 300), (200, 400), (800, 300), (64, 48)]):
            overlay.frame(FILE, frame(index, size=size, level=250))
            overlay.frame("clips/b.mp4", frame(index, size=(64, 64)))
    _, pictures = read(path)
    assert {picture.shape for picture in pictures} == {(Painter(400, 300).height, 400, 3)}
    lit = [near(picture[:300], (250, 250, 250), 12) / (400 * 300) for picture in pictures]
    assert lit == pytest.approx([1.0, 0.375, 0.5, 1.0], abs=0.02)  # whole, not stretched
    assert len(read(tmp_path / "out-2.mkv")[0]) == 4


def test_file_waits_for_the_encoder_and_a_camera_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    paint = Painter.paint

    def slow(self: Painter, *args: object) -> np.ndarray:
        opened.wait(10)
        return paint(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Painter, "paint", slow)
    with Overlay(tmp_path / "camera.mp4") as camera:
        camera.status(SourceStatus(CAMERA, SourceState.RUNNING, 0.0, 0, 0, 0, 0.0, "", live=True))
        for index in range(50):
            camera.frame(CAMERA, frame(index))
        assert not opened.is_set()  # nothing was waited for
        waiting = recording_module.MAX_WAITING_FRAMES
        assert 50 - waiting - 1 <= camera.dropped <= 50 - waiting
        threading.Timer(0.2, opened.set).start()
        with Overlay(tmp_path / "file.mp4") as file:
            for index in range(50):
                file.frame(FILE, frame(index))
    assert file.dropped == 0
    assert len(read(tmp_path / "file.mp4")[0]) == 50
    assert len(read(tmp_path / "camera.mp4")[0]) == 50 - camera.dropped


def test_picture_of_a_source_that_came_back_is_made_in_the_thread_that_watches(tmp_path: Path) -> None:
    makers = []

    def make() -> np.ndarray:
        makers.append(threading.current_thread())
        return np.zeros((48, 64, 3), np.uint8)

    with Overlay(tmp_path / "out.mp4") as overlay:
        overlay.verdict(FILE, verdict("waving"), 0.0, 1.0)
        overlay.frame(FILE, Frame(make, 5.0, 0, restarted=True))
    _, (picture,) = read(tmp_path / "out.mp4")
    assert near(picture[:60], (0, 0, 0), 3) == picture[:60].size // 3  # and of old answers nothing is left
    assert makers == [threading.current_thread()]


def test_killed_program_leaves_a_video_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    program = (
        "import sys, time, numpy as np; from maclip_runtime.overlay import Overlay\n"
        "from maclip_runtime.sources import Frame; overlay = Overlay(sys.argv[1])\n"
        "pixels = np.zeros((240, 320, 3), np.uint8)\n"
        "for index in range(300): overlay.frame('a.mp4', Frame(pixels, index / 10, index))\n"
        "while overlay._recordings['a.mp4']._queue.qsize(): time.sleep(0.01)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], timeout=60, check=False)
    assert not path.exists()
    assert len(read(tmp_path / "out.part.mp4")[0]) > 150
    with Overlay(path) as overlay:  # what is left over is in nobody's way
        overlay.frame(FILE, frame(0))
    assert [found.name for found in tmp_path.iterdir()] == ["out.mp4"]


def test_full_disk_ends_the_video_and_not_recognition(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")
    program = (
        "import resource, sys, numpy as np; from maclip_runtime.overlay import Overlay\n"
        "from maclip_runtime.sources import Frame\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "overlay = Overlay(sys.argv[1]); noise = np.random.default_rng(0)\n"
        "for index in range(150):\n"
        "    pixels = noise.integers(0, 255, (240, 320, 3), dtype=np.uint8)\n"
        "    overlay.frame('a.mp4', Frame(pixels, index / 10, index))\n"
        "overlay.close(); print(overlay.problem.code, overlay.dropped)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    code, dropped = done.stdout.split()
    assert code == "output-unwritable"
    assert 0 < int(dropped) <= 150
    assert "recognition goes on" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == b"older"


def test_a_fault_of_ours_ends_the_video_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> np.ndarray:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(Painter, "paint", broken)
    with Overlay(tmp_path / "out.mp4") as overlay:
        for index in range(3):
            overlay.frame(FILE, frame(index))
    assert overlay.problem
    assert (overlay.problem.code, overlay.problem.exit_code) == ("overlay-failed", EXIT_OUR_FAULT)
    assert overlay.dropped == 3
    assert caplog.text.count("recognition goes on") == 1


def test_places_for_no_video_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"a clip")
    (tmp_path / "folder.mp4").mkdir()
    for path in [tmp_path / "out.avi", tmp_path / "folder.mp4", tmp_path / "none" / "out.mp4", source]:
        with pytest.raises(MaclipError) as refused:
            Overlay(path, [str(source)])
        assert refused.value.code == "output-unwritable"
    with pytest.raises(MaclipError, match="is a source"):
        Overlay(tmp_path / "a.mp4", ["0", source.as_uri()])
    assert source.read_bytes() == b"a clip"


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_any_codec_at_hand_will_do(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if codec not in av.codec.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    monkeypatch.setattr("maclip_runtime.overlay.writing.CODECS", (codec,))
    writer = VideoWriter(tmp_path / "out.mp4", 64, 48)
    for index in range(5):
        writer.write(frame(index, size=(64, 48)).pixels, index * 0.2)
    writer.close()
    assert read(tmp_path / "out.mp4")[0] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=1e-6)
