"""Takes: so many seconds of a file or a camera, kept as a clip's frames are, from what happens after the countdown."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from videos import color_frames, color_video

from maclip_runtime import Frame, Recognizer, open_source
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess
from maclip_runtime.sources import Source, SourceState, SourceStatus
from maclip_runtime.sources.recording import record

PREPROCESS = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class DrawnCamera(Source):
    """A camera at 50 frames a second whose brightness is the frame's number; it may drop out, and end."""

    def __init__(self, lost_at: int | None = None, ends_at: int | None = None) -> None:
        super().__init__("drawn", live=True)
        self._begun = time.monotonic()
        self._given = -1
        self._lost_at, self._ends_at = lost_at, ends_at

    def read(self, timeout_s: float | None = None) -> Frame | None:
        until = time.monotonic() + (timeout_s or 10.0)
        while (number := int((time.monotonic() - self._begun) * 50)) <= self._given:
            if time.monotonic() >= until or self.status.state is SourceState.ENDED:
                return None
            time.sleep(0.002)
        if self.status.state is SourceState.ENDED:
            return None
        restarted = self._lost_at is not None and self._given < self._lost_at <= number
        self._given = number
        return Frame(np.full((48, 64, 3), number, np.uint8), number / 50, number, restarted)

    @property
    def status(self) -> SourceStatus:
        number = int((time.monotonic() - self._begun) * 50)
        ended = self._ends_at is not None and number >= self._ends_at
        state = SourceState.ENDED if ended else SourceState.RUNNING
        return SourceStatus("drawn", state, 0.0, 0, 0, 0, 50.0, "")

    def close(self) -> None:
        pass


def test_takes_of_a_file_follow_each_other(tmp_path: Path) -> None:
    video = color_video(tmp_path / "two.mp4", [("red", 1.0), ("green", 1.0)])
    with open_source(video) as source:
        red, green = (record(source, 1.0, PREPROCESS, countdown_s=30.0) for _ in range(2))  # a file does not wait
        assert red.frames.shape == green.frames.shape == (10, 32, 32, 3)
        assert (red.frames.mean(axis=(0, 1, 2)).argmax(), green.frames.mean(axis=(0, 1, 2)).argmax()) == (0, 1)
        assert (red.duration_s, green.duration_s) == pytest.approx((1.0, 1.0))
        with pytest.raises(MaclipError) as caught:
            record(source, 1.0, PREPROCESS)
        assert caught.value.code == "clip-too-short"


def test_a_take_is_what_a_clip_of_the_same_frames_is(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        with open_source(clips / "red1.mp4") as source:
            take = record(source, 1.0, recognizer.bundle.manifest.preprocess)
        with pytest.raises(MaclipError) as caught:
            recognizer.enroller.enroll_takes("red light", [take])
        assert caught.value.code == "clip-rejected"  # the very same frames


def test_a_camera_is_recorded_after_the_countdown_and_anew_after_a_loss() -> None:
    told: list[tuple[float, bool]] = []
    with DrawnCamera() as camera:
        take = record(camera, 0.3, PREPROCESS, 0.3, progress=lambda left_s, on: told.append((left_s, on)))
    assert take.frames[0].mean() >= 14  # nothing from before
    assert take.duration_s == pytest.approx(0.3, abs=0.08)
    assert told[0] == (1, False)
    assert told[-1][1] is True
    with DrawnCamera(lost_at=8) as camera:
        take = record(camera, 0.3, PREPROCESS)
    assert take.frames[0].mean() >= 8
    assert take.duration_s == pytest.approx(0.3, abs=0.08)


def test_a_camera_that_ends_or_cannot_be_waited_for() -> None:
    with DrawnCamera(ends_at=0) as camera, pytest.raises(MaclipError) as caught:
        record(camera, 0.3, PREPROCESS)
    assert caught.value.code == "clip-too-short"
    for seconds in (0.0, -1.0, 1e9, float("nan")):
        with DrawnCamera() as camera, pytest.raises(MaclipError) as caught:
            record(camera, seconds, PREPROCESS)
        assert caught.value.code == "option-invalid"


def test_silence_ends_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maclip_runtime.sources.recording.SILENCE_SECONDS", 0.2)
    camera = DrawnCamera()
    monkeypatch.setattr(camera, "read", lambda timeout_s=None: time.sleep(0.05))
    with pytest.raises(MaclipError) as caught:
        record(camera, 0.3, PREPROCESS)
    assert caught.value.code == "source-lost"


def test_a_program_enrolls_its_own_frames(bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        done = recognizer.enroll_frames(
            "red light", color_frames("red", 30), duration_s=1.5, source="rtsp://me:secret@camera/1"
        )
        assert (done.added, done.text_name) == (1, "red light")
        recognizer.enroll("green light", [clips / "green1.mp4", clips / "green2.mp4"])
        assert recognizer.classify(clips / "red2.mp4").nearest == "red light"
        (clip,) = recognizer.gallery.clips("red light")
        assert (clip.duration_s, clip.source) == (1.5, "rtsp://***@camera/1")
        for frames, duration_s, code in [
            (color_frames("red", 3), 1.0, "clip-too-short"),
            (color_frames("red", 8).astype(np.float32), 1.0, "frames-invalid"),
            (color_frames("red", 8), 0.0, "frames-invalid"),
            (color_frames("red", 8), float("nan"), "frames-invalid"),
        ]:
            with pytest.raises(MaclipError) as caught:
                recognizer.enroll_frames("red light", frames, duration_s=duration_s)
            assert caught.value.code == code
