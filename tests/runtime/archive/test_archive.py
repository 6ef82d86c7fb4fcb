"""Indexing and finding: each window once, the same events as recognition, and results where the action is."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import numpy as np
import pytest
from PIL import Image
from tiny_bundle import write_bundle
from videos import color_frames, color_video

from maclip_runtime import Archive, Event, MaclipError, Recognizer
from maclip_runtime.archive import Filters
from maclip_runtime.archive.store import Store
from maclip_runtime.archive.strips import strip_of
from maclip_runtime.archive.view import View
from maclip_runtime.streaming import Grid, watch_features

pytest.importorskip("pyarrow")

Opener = Callable[[Path], Archive]


def view_of(store: Path) -> View:
    opened = Store(store)
    assert opened.settings is not None
    return View(opened, opened.settings)


def code_of(use: Callable[[], object]) -> str:
    with pytest.raises(MaclipError) as caught:
        use()
    return caught.value.code


def said(events: list[Event]) -> list[tuple[object, ...]]:
    return [
        (one.kind, one.label, one.source, one.withdrawn, round(one.start_s, 6), round(one.end_s, 6)) for one in events
    ]


def test_windows_are_those_that_recognition_sees(recordings: Path, store: Path, opened: Opener, bundle: Path) -> None:
    from functools import partial

    from maclip_runtime.reading.frames import prepare
    from maclip_runtime.sources import open_source

    archive = opened(store)
    done = archive.index([recordings / "a.mp4"], window_s=1.0, hop_s=0.5)
    manifest = archive.encoder.bundle.manifest
    with open_source(recordings / "a.mp4") as source:
        grid = Grid.of(manifest.frames, 1.0, 0.5)
        seen = list(watch_features(source, archive.encoder, grid, partial(prepare, preprocess=manifest.preprocess)))
    view = view_of(store)
    assert done.windows == len(view) == len(seen) > 20
    assert view.number.tolist() == list(range(len(seen)))
    assert view.times.tolist() == [[one.start_s, one.end_s, *one.covers_s] for one in seen]
    features = view.features(np.arange(len(view)))
    assert np.abs(features - np.stack([one.features for one in seen])).max() < 0.01
    assert set(done.seconds) == {"decode", "prepare", "network", "store"}
    assert done.overhead > 0


@pytest.mark.parametrize("split", [False, True])
def test_events_are_those_of_recognition(
    recordings: Path, store: Path, enrolled: Path, tmp_path: Path, split: bool
) -> None:
    bundle = write_bundle(tmp_path / "bundle", split=split, limit=0.2)
    videos = [recordings / "a.mp4", recordings / "b.mp4", recordings / "short.mp4"]
    with Recognizer.open(bundle, enrolled, device="cpu", threads=1) as recognizer:
        watched = [event for video in videos for event in recognizer.watch(video, window_s=1.0)]
    with Archive.open(store, bundle, device="cpu", threads=1) as archive:
        archive.index(videos, window_s=1.0)
        events = list(archive.events(enrolled))
        only = list(archive.events(enrolled, filters=Filters(source="short")))
    assert said(events) == said(watched)
    assert {one.label for one in events} >= {"red light", "green light"}
    assert max(abs(a.match - b.match) for a, b in zip(events, watched, strict=True)) < 0.01
    assert said(only) == [one for one in said(watched) if "short" in str(one[2])] != []


def test_a_gap_in_a_video_ends_what_was_open(store: Path, enrolled: Path, bundle: Path, tmp_path: Path) -> None:
    video = tmp_path / "gap.mkv"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        blue, red = color_frames("blue", 30), color_frames("red", 20)
        for number, pixels in enumerate([*blue, *red, *red, *blue]):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number + (700 if number >= 50 else 0), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with Recognizer.open(bundle, enrolled, device="cpu", threads=1) as recognizer:
        watched = list(recognizer.watch(video, window_s=1.0))
    with Archive.open(store, bundle, device="cpu", threads=1) as archive:
        archive.index(video, window_s=1.0)
        assert said(list(archive.events(enrolled))) == said(watched)
        found = archive.find(class_name="red light", gallery=enrolled, top=5).found
    assert view_of(store).videos[0].lost
    assert [(one.kind, one.label) for one in watched].count(("end", "red light")) == 2
    first, second = sorted(found[:2], key=lambda one: one.start_s)  # neither reaches over the gap
    assert 2.5 < first.start_s < first.end_s < 6
    assert 74 < second.start_s < second.end_s < 78


def test_an_action_is_found_where_it_happens(recordings: Path, store: Path, clips: Path, opened: Opener) -> None:
    archive = opened(store)
    archive.index(recordings, window_s=1.0)
    search = archive.find([clips / "red1.mp4", clips / "red2.mp4"], top=4)
    spans = sorted((Path(one.source).name, one.start_s, one.end_s) for one in search.found)
    truth = [("a.mp4", 4.0, 6.0), ("b.mp4", 6.0, 9.0), ("b.mp4", 14.0, 16.0), ("short.mp4", 0.0, 0.5)]
    for (name, start_s, end_s), (true_name, true_start, true_end) in zip(spans, truth, strict=True):
        assert name == true_name
        assert abs(start_s - true_start) <= 0.5
        assert abs(end_s - true_end) <= 0.5
    assert [one.rank for one in search.found] == [1, 2, 3, 4]
    distances = [one.distance for one in search.found]
    assert distances == sorted(distances)
    assert max(distances) < search.typical
    assert search.windows == search.measured
    nearest = search.found[0]
    link = urlsplit(nearest.link)
    assert Path(unquote(link.path)) == Path(nearest.path)
    assert link.fragment == f"t={nearest.start_s:.2f},{nearest.end_s:.2f}"
    wanted = archive.find(clips / "red1.mp4", filters=Filters(source="*b.mp4"))
    assert {Path(one.source).name for one in wanted.found} == {"b.mp4"}
    assert not archive.find(clips / "red1.mp4", filters=Filters(since=4e9)).found
    for wrong in ({"source": 1}, {"since": "today"}):
        assert code_of(lambda wrong=wrong: Filters(**wrong)) == "option-invalid"


def test_a_class_of_a_gallery_is_found(recordings: Path, store: Path, enrolled: Path, opened: Opener) -> None:
    archive = opened(store)
    archive.index(recordings / "a.mp4", window_s=1.0)
    search = archive.find(class_name="green light", gallery=enrolled, top=1)
    assert abs(search.found[0].start_s - 10.0) <= 0.5
    assert search.limit is not None
    assert search.found[0].match > 0.5
    assert code_of(lambda: archive.find(class_name="walking", gallery=enrolled)) == "class-unknown"
    assert code_of(lambda: archive.find()) == "option-invalid"
    assert code_of(lambda: archive.find(recordings / "a.mp4", class_name="x", gallery=enrolled)) == "option-invalid"
    assert code_of(lambda: archive.find(class_name="green light")) == "option-invalid"


def test_nothing_is_indexed_twice(recordings: Path, store: Path, opened: Opener, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(recordings, videos)
    archive = opened(store)
    first = archive.index(videos, window_s=1.0)
    assert len(first.videos) == 3
    assert first.windows == len(view_of(store))
    again = archive.index(videos)
    assert (again.windows, again.videos, len(again.there)) == (0, [], 3)
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    copied = archive.index(videos / "copy.mp4")
    assert copied.copies == {str(videos / "copy.mp4"): str(videos / "a.mp4")}
    (videos / "a.mp4").unlink()  # now it has moved
    moved = archive.index(videos / "copy.mp4")
    assert moved.windows == 0
    view = view_of(store)
    assert len(view) == view.counted == first.windows
    assert sorted(Path(one.record.video.path).name for one in view.videos) == ["b.mp4", "copy.mp4", "short.mp4"]


def test_a_video_that_changed_is_noticed_and_indexed_again(
    store: Path, clips: Path, opened: Opener, tmp_path: Path
) -> None:
    video = tmp_path / "today.mp4"
    color_video(video, [("red", 3.0), ("blue", 3.0)])
    archive = opened(store)
    archive.index(video, window_s=1.0)
    color_video(video, [("blue", 4.0), ("green", 3.0)])
    before = archive.find(clips / "red1.mp4", top=1)
    assert before.found[0].video == "changed"
    done = archive.index(video)
    assert done.changed == done.videos == [str(video)]
    after = archive.find(clips / "green1.mp4", top=1)
    assert after.windows == done.windows < len(view_of(store))
    assert after.found[0].video == "there"
    assert abs(after.found[0].start_s - 4.0) <= 0.5
    video.unlink()
    assert archive.find(clips / "green1.mp4", top=1).found[0].video == "missing"


def test_a_video_that_grows_while_it_is_indexed_is_not_complete(store: Path, opened: Opener, tmp_path: Path) -> None:
    video = tmp_path / "growing.mp4"
    color_video(video, [("red", 3.0)])
    archive = opened(store)
    done = archive.index(video, window_s=1.0, progress=lambda _: os.truncate(video, os.path.getsize(video) + 1))
    assert {name: error.code for name, error in done.failed.items()} == {str(video): "video-changed"}
    assert not view_of(store).videos[0].complete


def test_videos_that_cannot_be_read_are_left_out(recordings: Path, store: Path, opened: Opener, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    archive = opened(store)
    videos = [bad, tmp_path / "none.mp4", "rtsp://user:secret@camera/1", recordings / "short.mp4"]
    done = archive.index(videos, window_s=1.0)
    assert done.windows == 1
    assert {error.code for error in done.failed.values()} == {"clip-unreadable"}
    assert len(done.failed) == 3
    assert "secret" not in str(done)
    assert code_of(lambda: archive.index(tmp_path / "store")) == "clip-unreadable"
    assert code_of(lambda: archive.index([])) == "clip-missing"


def test_folders_are_searched_for_videos_and_frames(
    recordings: Path, store: Path, opened: Opener, tmp_path: Path
) -> None:
    day = tmp_path / "cameras" / "monday"
    for name in ("frames", ".hidden"):
        (day / name).mkdir(parents=True)
    shutil.copy(recordings / "short.mp4", day / "hall.mp4")
    shutil.copy(recordings / "a.mp4", day / ".hidden" / "a.mp4")
    Image.new("RGB", (8, 8)).save(day / "hall.jpg")  # a thumbnail
    for number, pixels in enumerate(color_frames("green", 16)):
        Image.fromarray(pixels).save(day / "frames" / f"{number}.png")
    done = opened(store).index(tmp_path / "cameras", window_s=1.0)
    assert done.videos == [str(day / "frames"), str(day / "hall.mp4")]
    assert done.windows == 5 + 1
    found = opened(store).find(day / "frames", top=1).found[0]
    assert (found.source, found.video) == (str(day / "frames"), "there")
    assert strip_of(found.path, found.start_s, found.end_s) is not None


def test_a_store_keeps_to_its_bundle_and_windows(
    recordings: Path, store: Path, clips: Path, opened: Opener, tmp_path: Path
) -> None:
    archive = opened(store)
    assert code_of(lambda: archive.find(clips / "red1.mp4")) == "archive-empty"
    archive.index(recordings / "short.mp4", window_s=1.0)
    assert code_of(lambda: archive.index(recordings / "a.mp4", window_s=2.0)) == "archive-mismatch"
    other = write_bundle(tmp_path / "other", contract="another")
    with Archive.open(store, other, device="cpu") as stranger:
        assert code_of(lambda: stranger.index(recordings / "a.mp4")) == "archive-mismatch"
        assert code_of(lambda: stranger.find(clips / "red1.mp4")) == "archive-mismatch"
    assert archive.index(recordings / "a.mp4").windows > 40
    archive.close()
    assert code_of(lambda: archive.find(clips / "red1.mp4")) == "recognizer-closed"


def test_fields_of_a_result_are_plain(recordings: Path, store: Path, clips: Path, opened: Opener) -> None:
    archive = opened(store)
    archive.index(recordings / "a.mp4", window_s=1.0)
    one = archive.find(clips / "red1.mp4", top=1).found[0]
    assert {type(value) for value in dataclasses.asdict(one).values()} == {int, float, str}
    assert one.length_s == pytest.approx(15.0, abs=0.2)
