"""A stream of frames that a program hands in: its events, its end, and what a failure leaves."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_camera import Camera, camera_frames
from tiny_bundle import write_bundle
from videos import color_frames, color_video

from maclip_runtime import Event, Recognizer
from maclip_runtime.errors import MaclipError
from maclip_runtime.streaming import opening, pipeline


@pytest.fixture
def recognizer(bundle: Path, enrolled: Path) -> Iterator[Recognizer]:
    with Recognizer.open(bundle, enrolled, device="cpu") as opened:
        yield opened


def told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(event.source, event.kind, event.label) for event in events if event.kind != "update"]


def test_pushed_frames_give_the_events_of_a_camera(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = camera_frames(("red", 3.0), ("green", 3.0))
    monkeypatch.setattr(opening, "open_source", lambda uri, options: Camera("robot", frames))
    watched = list(recognizer.watch("robot", window_s=1.0))
    with recognizer.stream(window_s=1.0, name="robot") as stream:
        pushed = [event for one in frames for event in stream.push(one.pixels, one.time_s)]
        pushed += stream.end()
    assert [(e.kind, e.label, e.start_s, e.end_s, e.source) for e in pushed] == [
        (e.kind, e.label, e.start_s, e.end_s, e.source) for e in watched
    ]
    assert stream.end() == []


def test_events_of_pushed_frames_are_placed_in_time(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By when the frame was handed in, whatever clock its own time is on."""
    events: list[Event] = []
    with recognizer.stream(window_s=1.0, name="arm") as stream:
        for one in camera_frames(("red", 3.0)):
            monkeypatch.setattr(pipeline.time, "time", lambda one=one: 5000.0 + one.time_s)
            events += stream.push(one.pixels, one.time_s)
    events += stream.end()
    assert {event.kind for event in events} == {"start", "update", "end"}
    assert len({event.id for event in events}) == 1
    for event in events:
        assert event.started_at == pytest.approx(5000 + event.start_s)
        assert event.ended_at == pytest.approx(5000 + event.end_s)


def test_events_of_the_end_are_kept_for_whoever_asks_after_the_block(recognizer: Recognizer) -> None:
    frames = camera_frames(("red", 3.0))
    with recognizer.stream(window_s=1.0, name="arm") as stream:
        events = [event for one in frames for event in stream.push(one.pixels, one.time_s)]
    assert told(events) == [("arm", "start", "red light")]
    assert told(stream.end()) == [("arm", "end", "red light")]
    assert stream.end() == []
    with pytest.raises(MaclipError) as caught:
        stream.push(frames[0].pixels, 4.0)
    assert caught.value.code == "stream-ended"


def test_an_error_of_the_program_leaves_the_block_at_once_and_loses_no_end(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = recognizer.stream(window_s=1.0)
    for one in camera_frames(("red", 3.0)):
        stream.push(one.pixels, one.time_s)
    monkeypatch.setattr(recognizer.encoder.engine, "run", None)  # the network is not run again
    with pytest.raises(ZeroDivisionError), stream:
        raise ZeroDivisionError
    assert told(stream.end()) == [("camera", "end", "red light")]


def test_a_stream_shorter_than_a_window_is_answered_at_its_end(recognizer: Recognizer) -> None:
    with recognizer.stream(window_s=30.0) as stream:
        for one in camera_frames(("green", 1.0)):
            assert stream.push(one.pixels, one.time_s) == []
    assert told(stream.end()) == [("camera", "start", "green light"), ("camera", "end", "green light")]


FAILURES = [
    MaclipError("device-failed", "The GPU fell off the bus.", "Wait."),
    RuntimeError("CUDA failure 700"),  # as onnxruntime has it
    ValueError("frames has shape [1]"),
    MemoryError(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("split", [False, True])
def test_an_engine_that_fails_once_does_not_break_the_stream(
    enrolled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool, failure: Exception
) -> None:
    """The stem fails for frames that later windows still hold, the rest for windows of its own."""
    with Recognizer.open(write_bundle(tmp_path / "b", split=split), enrolled, device="cpu") as recognizer:
        run, failing = recognizer.encoder.engine.run, False

        def fails(graph: str, **inputs: Any) -> Any:
            if failing:
                raise failure
            return run(graph, **inputs)

        monkeypatch.setattr(recognizer.encoder.engine, "run", fails)
        codes, events = [], []
        with recognizer.stream(window_s=1.0) as stream:
            for place, one in enumerate(camera_frames(("red", 6.0))):
                failing = 12 <= place < 22
                try:
                    events += stream.push(one.pixels, one.time_s)
                except MaclipError as error:
                    codes.append(error.code)
        assert len(codes) >= 3
        assert set(codes) == {"device-failed"}
        assert told([*events, *stream.end()]) == [("camera", "start", "red light"), ("camera", "end", "red light")]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("runs", [2, None])
def test_a_watch_goes_on_where_the_device_fails_once_and_ends_whole_where_it_keeps_failing(
    enrolled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    split: bool,
    runs: int | None,
) -> None:
    """The device fails after six steps with windows: twice, or for good."""
    videos = [color_video(tmp_path / f"{n}.mp4", [("red", 6.0)]) for n in range(2)]
    with Recognizer.open(write_bundle(tmp_path / "b", split=split), enrolled, device="cpu") as recognizer:
        run, looked, failed = recognizer.encoder.engine.run, 0, 0

        def fails(graph: str, **inputs: Any) -> Any:
            nonlocal looked, failed
            looked += graph in ("tower", "visual")
            if graph in ("tower", "visual") and looked > 6 and (runs is None or failed < runs):
                failed += 1
                raise RuntimeError("CUDA failure 700")
            return run(graph, **inputs)

        monkeypatch.setattr(recognizer.encoder.engine, "run", fails)
        events: list[Event] = []
        watched = recognizer.watch(videos, window_s=1.0)
        if runs is None:
            with pytest.raises(MaclipError) as caught:
                events.extend(watched)
            assert caught.value.code == "device-failed"
            assert failed == 3
        else:
            events.extend(watched)
            assert max(event.end_s for event in events) == pytest.approx(6.0, abs=0.3)
    assert [record.message for record in caplog.records if "unanswered" in record.message]
    ends = [event.source for event in events if event.kind == "end"]
    assert ends == [str(video) for video in videos]  # what was open has ended


def test_a_buffer_that_is_filled_again_changes_nothing(recognizer: Recognizer) -> None:
    """As a camera's program does it, which has one buffer for all its frames."""
    frames = camera_frames(("red", 3.0), ("green", 3.0))

    def run(shared: bool) -> list[Event]:
        buffer = np.empty_like(frames[0].pixels)
        events: list[Event] = []
        with recognizer.stream(window_s=1.0) as stream:
            for one in frames:
                buffer[:] = one.pixels
                events += stream.push(buffer if shared else one.pixels, one.time_s)
                buffer[:] = 0  # the camera has its buffer back
            return events + stream.end()

    def seen(events: list[Event]) -> list[tuple[str, str, float, float]]:
        return [(event.kind, event.label, event.score, event.start_s) for event in events]

    assert seen(run(shared=True)) == seen(run(shared=False))


def test_a_stream_does_not_wait_for_a_thread_of_its_own_program_that_writes(
    recognizer: Recognizer, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An import, or an enrolment that waits for another program, holds the gallery for long."""
    holding, done = threading.Event(), threading.Event()
    waited: list[bool] = []

    def hold() -> None:
        shape = recognizer.bundle.manifest.frames, recognizer.bundle.manifest.feature_width
        with recognizer.gallery.importing(recognizer.gallery.contract, shape) as importing:
            clip = recognizer.gallery.clips("red light")[0]
            importing.clip(dataclasses.replace(clip, class_name="amber light", digest="new"))
            holding.set()
            waited.append(done.wait(timeout=60))  # a stream that waits comes too late

    with recognizer.stream(window_s=1.0) as stream:
        frames = camera_frames(("red", 6.0))
        for one in frames[:30]:
            stream.push(one.pixels, one.time_s)
        writer = threading.Thread(target=hold)
        writer.start()
        assert holding.wait(timeout=60)
        events = [event for one in frames[30:50] for event in stream.push(one.pixels, one.time_s)]
        assert events  # answered from the gallery as it was
        done.set()
        writer.join(timeout=60)
        assert not writer.is_alive()
        assert waited == [True]
        assert not caplog.records
        for one in frames[50:]:
            stream.push(one.pixels, one.time_s)
    assert recognizer.index.ready().names == ("red light", "green light", "amber light")


def test_frames_that_cannot_be_pushed(recognizer: Recognizer) -> None:
    good = color_frames("red", 1)[0]
    stream = recognizer.stream()
    for bad, time_s in [(good[0], 0.0), (good.astype(float), 0.0), (good[:0], 0.0), (good, float("nan")), (None, 0.0)]:
        with pytest.raises(MaclipError) as caught:
            stream.push(bad, time_s)  # type: ignore[arg-type]
        assert caught.value.code == "frames-invalid"


def test_a_stream_that_cannot_be_opened(recognizer: Recognizer) -> None:
    for options, code in [({"window_s": 0.0}, "window-invalid"), ({"motion_gate": -1.0}, "motion-invalid")]:
        with pytest.raises(MaclipError) as caught:
            recognizer.stream(**options)  # type: ignore[arg-type]
        assert caught.value.code == code


def test_threads_push_classify_and_enroll_at_once(recognizer: Recognizer, clips: Path) -> None:
    failures: list[BaseException] = []
    found: dict[str, set[str]] = {}

    def push(name: str, color: str) -> None:
        events = []
        with recognizer.stream(window_s=1.0, name=name) as stream:
            for one in camera_frames((color, 8.0)):
                events += stream.push(one.pixels, one.time_s)
        found[name] = {event.label for event in [*events, *stream.end()]}

    def classify() -> None:
        for _ in range(10):
            assert recognizer.classify(clips / "red3.mp4").label == "red light"

    def enroll() -> None:
        recognizer.enroll("blue light", clips / "blue1.mp4", force=True)
        recognizer.rename("blue light", "sea")
        recognizer.remove("sea")

    def guarded(work: Callable[..., None], *args: str) -> threading.Thread:
        def run() -> None:
            try:
                work(*args)
            except BaseException as error:  # a thread's own failure would go unseen
                failures.append(error)

        return threading.Thread(target=run)

    threads = [guarded(push, f"red {i}", "red") for i in range(3)]
    threads += [guarded(push, f"green {i}", "green") for i in range(3)]
    threads += [guarded(classify), guarded(classify), guarded(enroll)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [thread for thread in threads if thread.is_alive()], "deadlock"
    assert not failures
    assert found == {f"{color} {i}": {f"{color} light"} for color in ("red", "green") for i in range(3)}
