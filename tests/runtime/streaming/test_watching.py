"""Watching sources: several share a run, one that fails leaves the others, and nothing in a stream ends it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_camera import Camera, camera_frames
from tiny_bundle import write_bundle
from videos import color_frames, color_video, write_video

from maclip_runtime import Callbacks, Event, Frame, Recognizer
from maclip_runtime.callbacks import CallbackList
from maclip_runtime.decisions import Verdict
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Roi, Source, SourceOptions, SourceState, SourceStatus, open_source
from maclip_runtime.streaming import Grid, Pipeline, opening, watch
from maclip_runtime.streaming.control import Control


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have `watch` open these sources by their names."""

    def install(*sources: Source) -> list[str]:
        by_name = {source.name: source for source in sources}
        monkeypatch.setattr(opening, "open_source", lambda uri, options: by_name[uri])
        return list(by_name)

    return install


@pytest.fixture
def recognizer(bundle: Path, enrolled: Path) -> Iterator[Recognizer]:
    with Recognizer.open(bundle, enrolled, device="cpu") as opened:
        yield opened


@pytest.fixture
def runs(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Each run of a graph and its rows."""
    seen: list[tuple[str, int]] = []
    run = recognizer.encoder.engine.run

    def counted(graph: str, **inputs: Any) -> Any:
        seen.append((graph, len(next(iter(inputs.values())))))
        return run(graph, **inputs)

    monkeypatch.setattr(recognizer.encoder.engine, "run", counted)
    return seen


def ends(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.source, event.label) for event in events if event.kind == "end"]


def test_several_files_share_each_run(recognizer: Recognizer, runs: list[tuple[str, int]], tmp_path: Path) -> None:
    names = []
    for color in ("red", "green", "blue"):
        names.append(str(color_video(tmp_path / f"{color}.mp4", [(color, 3.0)])))
    events = list(recognizer.watch([Path(name) for name in names], window_s=1.0, hop_s=0.5))
    assert sorted(ends(events)) == sorted(zip(names, ("red light", "green light", "unknown"), strict=True))
    visual = [rows for graph, rows in runs if graph == "visual"]
    assert visual == [3] * 5  # windows of 1 s every 0.5 s in 3 s, one of each file at a time
    assert [rows for graph, rows in runs if graph == "match"][-5:] == [3] * 5


def test_stems_of_several_sources_share_each_run(enrolled: Path, tmp_path: Path) -> None:
    split = write_bundle(tmp_path / "split", split=True)
    videos = [color_video(tmp_path / f"{color}.mp4", [(color, 3.0)]) for color in ("red", "green")]
    with Recognizer.open(split, enrolled, device="cpu") as recognizer:
        timings = Timings()
        events = list(recognizer.watch(videos, window_s=1.0, hop_s=0.5, callbacks=[timings]))
    assert sorted(label for _, label in ends(events)) == ["green light", "red light"]
    assert timings.stages["stem"] == 12  # grid points in 3 s: both sources' frames at once
    assert timings.stages["tower"] == 5
    assert timings.stages["decide"] == 10
    assert timings.stages["decode"] >= 60
    assert set(timings.stages) == {"decode", "prepare", "stem", "tower", "match", "decide"}


class Timings(Callbacks):
    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()

    def timing(self, stage: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages[stage] += 1


def test_a_source_s_status_is_told_before_its_first_frame(
    recognizer: Recognizer, cameras: Callable[..., list[str]]
) -> None:
    """So that what draws a camera's frames knows that it must not wait."""

    class Told(Callbacks):
        def __init__(self) -> None:
            self.order: list[str] = []

        def status(self, status: SourceStatus) -> None:
            self.order.append(f"status {status.name}")

        def frame(self, source: str, frame: Frame) -> None:
            self.order.append(f"frame {source}")

    told = Told()
    names = cameras(*(Camera(name, camera_frames(("red", 2.0))) for name in ("left", "right")))
    list(recognizer.watch(names, window_s=1.0, callbacks=[told]))
    for name in ("left", "right"):
        assert told.order.index(f"status {name}") < told.order.index(f"frame {name}")


def test_files_and_cameras_are_watched_together(
    recognizer: Recognizer, cameras: Callable[..., list[str]], tmp_path: Path
) -> None:
    video = color_video(tmp_path / "red.mp4", [("red", 2.0)])
    names = cameras(open_source(video), Camera("camera", camera_frames(("green", 4.0))))
    events = list(recognizer.watch(names, window_s=1.0))
    assert sorted(ends(events)) == sorted([(str(video), "red light"), ("camera", "green light")])
    for event in events:
        times = (event.at, event.started_at, event.ended_at)
        assert times.count(None) == (3 if event.source == str(video) else 0)
    assert all(abs(event.at - time.time()) < 60 for event in events if event.at is not None)


def test_an_action_ends_when_its_camera_is_lost_not_when_it_is_back(
    recognizer: Recognizer, cameras: Callable[..., list[str]]
) -> None:
    class Vanishing(Camera):
        """After its frames it is lost, and a moment later it is back with others."""

        def read(self, timeout_s: float | None = None) -> Frame | None:
            if self.given == 30 and self._state is SourceState.RUNNING:
                self._state = SourceState.LOST
                return None
            self._state = SourceState.RUNNING
            return super().read(timeout_s)

    later = camera_frames(("green", 3.0), start_s=20.0, restarted=True)
    camera = Vanishing("camera", camera_frames(("red", 3.0)) + later)
    seen = [(event.kind, event.label, camera.given) for event in recognizer.watch(cameras(camera), window_s=1.0)]
    assert ("end", "red light", 30) in seen  # before the first frame after the loss
    assert [(kind, label) for kind, label, _ in seen if kind != "update"] == [
        ("start", "red light"),
        ("end", "red light"),
        ("start", "green light"),
        ("end", "green light"),
    ]


def test_a_source_that_fails_ends_alone_and_is_raised_last(
    recognizer: Recognizer, cameras: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    lost = MaclipError("source-lost", "camera 1 stopped sending.", "Look at it.")
    broken = Camera("camera 1", camera_frames(("red", 2.0)), lost)
    events: list[Event] = []
    watching = recognizer.watch(cameras(broken, Camera("camera 2", camera_frames(("green", 6.0)))), window_s=1.0)
    with pytest.raises(MaclipError) as caught:
        events.extend(watching)  # those that come before it raises stay
    assert caught.value is lost
    assert ends(events) == [("camera 1", "red light"), ("camera 2", "green light")]
    assert "camera 1 stopped sending" in caplog.text
    last = events[-1]
    assert (last.start_s, last.end_s) == pytest.approx((0.0, 6.0))


def test_a_loss_ends_what_was_open(recognizer: Recognizer, cameras: Callable[..., list[str]]) -> None:
    """The same action before and after a loss is two events, though no window in between says anything else."""
    frames = [*camera_frames(("red", 3.0)), *camera_frames(("red", 3.0), start_s=3.1, restarted=True)]
    events = list(recognizer.watch(cameras(Camera("camera", frames)), window_s=1.0))
    spans = [(event.start_s, event.end_s) for event in events if event.kind == "end"]
    np.testing.assert_allclose(spans, [(0.0, 3.0), (3.1, 6.1)], atol=1e-6)


def test_a_still_picture_costs_nothing_and_says_so(
    recognizer: Recognizer, cameras: Callable[..., list[str]], runs: list[tuple[str, int]]
) -> None:
    frozen = color_frames("green", 1)[0]
    still = [Frame(frozen, 2 + index / 10, 20 + index) for index in range(60)]
    frames = [*camera_frames(("red", 2.0)), *still, *camera_frames(("red", 2.0), start_s=8.0)]
    events = list(recognizer.watch(cameras(Camera("camera", frames)), window_s=1.0, motion_gate=1.0))
    assert [(event.label, event.reason) for event in events if event.kind == "end"] == [
        ("red light", ""),
        ("green light", ""),  # while it came into view
        ("unknown", "still"),
        ("green light", ""),  # while it goes
        ("red light", ""),
    ]
    gated = Counter(graph for graph, _ in runs)["visual"]
    runs.clear()
    list(recognizer.watch(cameras(Camera("camera", frames)), window_s=1.0))
    assert gated < Counter(graph for graph, _ in runs)["visual"] / 1.8


def test_callbacks_are_called_and_a_broken_one_is_left_out(
    recognizer: Recognizer, cameras: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Callbacks):
        calls = 0

        def frame(self, source: str, frame: Frame) -> None:
            self.calls += 1
            raise RuntimeError("no space left")

    class Everything(Callbacks):
        def __init__(self) -> None:
            self.frames: list[int] = []
            self.verdicts: list[tuple[str, float, float]] = []
            self.events: list[Event] = []
            self.states: list[SourceState] = []

        def frame(self, source: str, frame: Frame) -> None:
            self.frames.append(frame.index)

        def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
            self.verdicts.append((verdict.label, start_s, end_s))

        def event(self, event: Event) -> None:
            self.events.append(event)

        def status(self, status: SourceStatus) -> None:
            self.states.append(status.state)

    broken, told = Broken(), Everything()
    names = cameras(Camera("camera", camera_frames(("red", 3.0))))
    events = list(recognizer.watch(names, window_s=1.0, callbacks=[broken, told]))
    assert broken.calls == 1
    assert caplog.text.count("Broken failed") == 1
    assert told.frames == list(range(30))
    assert told.events == events
    assert ends(events) == [("camera", "red light")]
    assert told.states == [SourceState.RUNNING, SourceState.ENDED]
    assert {label for label, _, _ in told.verdicts} == {"red light"}
    assert len(told.verdicts) == 9


def test_features_that_are_no_numbers_are_unknown(
    recognizer: Recognizer, long_red: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recognizer.encoder.engine.run
    windows = iter(range(1000))

    def broken(graph: str, **inputs: Any) -> Any:
        out = run(graph, **inputs)
        if graph == "visual" and next(windows) >= 8:
            out[0][0, 1, 2] = np.nan
        return out

    monkeypatch.setattr(recognizer.encoder.engine, "run", broken)
    events = list(recognizer.watch(long_red, window_s=1.0))
    assert [(event.label, event.reason) for event in events if event.kind == "end"] == [
        ("red light", ""),
        ("unknown", "invalid"),
    ]
    with pytest.raises(MaclipError) as caught:
        recognizer.classify(long_red)
    assert caught.value.code == "features-invalid"


@pytest.fixture
def long_red(tmp_path: Path) -> Path:
    return color_video(tmp_path / "long.mp4", [("red", 6.0)])


def test_a_gallery_that_breaks_leaves_the_last_one_in_use(
    recognizer: Recognizer, long_red: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events = recognizer.watch(long_red, window_s=1.0)
    first = next(events)

    def broken(*_: object) -> None:
        raise MaclipError("gallery-corrupt", "The disk is gone.", "Find it.")

    monkeypatch.setattr(type(recognizer.gallery), "generation", property(broken))
    with caplog.at_level(logging.WARNING, "maclip"):
        rest = list(events)
    assert {event.label for event in [first, *rest]} == {"red light"}
    assert caplog.text.count("The disk is gone") == 1


def test_options_must_fit_the_sources(recognizer: Recognizer, long_red: Path) -> None:
    for sources, options in [([], None), ([long_red], []), ([long_red], [SourceOptions()] * 2)]:
        with pytest.raises(MaclipError) as caught:
            recognizer.watch(sources, options=options)
        assert caught.value.code == "option-invalid"


def test_a_region_counts_for_short_files_and_whole_clips_too(recognizer: Recognizer, tmp_path: Path) -> None:
    both = np.concatenate([color_frames("red", 10), color_frames("green", 10)], axis=2)
    video = write_video(tmp_path / "both.mp4", both)
    for roi, label in [(Roi(0, 0, 0.5, 1), "red light"), (Roi(0.5, 0, 0.5, 1), "green light")]:
        assert recognizer.classify(video, roi=roi).label == label
        for window_s in (0.5, 30.0):
            events = list(recognizer.watch(video, window_s=window_s, options=SourceOptions(roi=roi)))
            assert ends(events) == [(str(video), label)]


def test_a_running_watch_takes_another_grid_and_region_and_stops(
    recognizer: Recognizer, cameras: Callable[..., list[str]]
) -> None:
    half = np.concatenate([color_frames("green", 400)[:, :, :32], color_frames("red", 400)[:, :, 32:]], axis=2)
    (uri,) = cameras(Camera("camera", [Frame(one, i / 10, i) for i, one in enumerate(half)]))
    manifest = recognizer.bundle.manifest
    control = Control(Grid.of(manifest.frames, 1.0))
    seen: list[tuple[str, float]] = []
    shapes: list[tuple[int, ...]] = []

    class Turns(Callbacks):
        def frame(self, source: str, frame: Frame) -> None:
            shapes.append(frame.pixels.shape[:2] + (frame.whole or frame).pixels.shape[:2])

        def measured(self, source: str, answer: Any, features: Any, start_s: float, end_s: float) -> None:
            assert features.shape == (manifest.frames, manifest.feature_width)
            seen.append((answer.names[int(answer.distances.argmin())], end_s - start_s))
            if len(seen) == 3:
                control.set_region("camera", Roi(0.5, 0, 0.5, 1))
            if len(seen) == 6:
                control.grid = Grid.of(manifest.frames, 2.0)
            if len(seen) == 9:
                control.stop()

    every = CallbackList([Turns()])
    pipeline = Pipeline(recognizer.encoder, recognizer.index, recognizer.decisions, every)
    events = list(watch(pipeline, [(uri, SourceOptions())], [None], control.grid, every, control=control))
    assert len(seen) == 9
    assert {label for label, _ in seen[3:]} == {"red light"}
    assert [round(length, 3) for _, length in seen] == [1.0] * 6 + [2.0] * 3
    assert set(shapes) == {(48, 64, 48, 64), (48, 32, 48, 64)}
    assert [event.kind for event in events if event.kind != "update"].count("start") == len(ends(events))
