"""Whole clips: the right frames, few of them decoded to pixels, and what happens when frames are missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import WIDTH, color_frames, color_video, write_video

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import segment_indices
from maclip_runtime.sources import open_source

four = partial(segment_indices, frames=4)


def test_chosen_frames_are_the_streams_own(clips: Path) -> None:
    clip = read_clip(clips / "red1.mp4", four)
    with open_source(clips / "red1.mp4") as source:
        frames = np.stack([frame.pixels for frame in source])
    assert clip.total == 10
    assert clip.indices.tolist() == [1, 3, 6, 8]
    assert clip.duration_s == pytest.approx(1.0)
    np.testing.assert_array_equal(clip.frames, frames[[1, 3, 6, 8]])


def test_only_chosen_frames_are_transformed(clips: Path) -> None:
    seen = []
    clip = read_clip(clips / "red1.mp4", four, lambda frame: seen.append(1) or frame[:8, :8])
    assert len(seen) == 4
    assert clip.frames.shape == (4, 8, 8, 3)


def test_random_choice_may_repeat_and_disorder(clips: Path) -> None:
    clip = read_clip(clips / "red1.mp4", lambda total: np.array([7, 2, 7]))
    np.testing.assert_array_equal(clip.frames[0], clip.frames[2])
    assert not np.array_equal(clip.frames[0], clip.frames[1])


def test_too_short_clip(tmp_path: Path) -> None:
    path = color_video(tmp_path / "short.mp4", [("red", 0.3)])
    with pytest.raises(MaclipError, match="has 3 frames; at least 4") as caught:
        read_clip(path, four)
    assert caught.value.code == "clip-too-short"


def test_truncated_video_gives_what_is_there(tmp_path: Path) -> None:
    path = color_video(tmp_path / "v.avi", [("red", 3.0)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = read_clip(path, four)
    assert 5 <= clip.total < 30
    assert clip.indices.max() < clip.total


def test_decoded_count_replaces_a_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maclip_runtime.reading import video

    path = color_video(tmp_path / "v.mp4", [("red", 1.0)])
    monkeypatch.setattr(video, "extent", lambda *_: (40, 4.0))
    clip = read_clip(path, four)
    assert clip.total == 10
    assert clip.duration_s == pytest.approx(1.0)
    assert clip.indices.tolist() == [1, 3, 6, 8]


def test_folder_opens_only_chosen_pictures(tmp_path: Path) -> None:
    for number, frame in enumerate(color_frames("red", 12)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    (tmp_path / "0.png").write_bytes(b"broken")
    clip = read_clip(tmp_path, four)
    assert clip.total == 12
    assert clip.duration_s == 1.5


def test_broken_picture_is_left_out(tmp_path: Path) -> None:
    for number, frame in enumerate(color_frames("red", 9)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    clip = read_clip(tmp_path, four)
    assert clip.total == 8
    assert clip.frames.shape == (4, 48, WIDTH, 3)


def test_a_title_in_an_old_encoding_is_no_reason_to_refuse(clips: Path, tmp_path: Path) -> None:
    with av.open(str(clips / "red1.mp4")) as old, av.open(str(tmp_path / "cafe.mp4"), "w") as new:
        new.metadata["title"] = "cafe at noon"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    content = (tmp_path / "cafe.mp4").read_bytes()
    assert b"cafe at" in content
    (tmp_path / "cafe.mp4").write_bytes(content.replace(b"cafe at", "café at".encode("latin-1")))
    np.testing.assert_array_equal(
        read_clip(tmp_path / "cafe.mp4", four).frames, read_clip(clips / "red1.mp4", four).frames
    )


def test_many_threads_read_the_same(clips: Path) -> None:
    paths = [clips / f"{name}.mp4" for name in ("red1", "green1", "blue1")] * 8
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda path: read_clip(path, four).frames, paths))
    for path, frames in zip(paths, read, strict=True):
        np.testing.assert_array_equal(frames, read_clip(path, four).frames)


def test_frame_counts_of_real_videos(shared_data: Path) -> None:
    eight = partial(segment_indices, frames=8)
    paths = [path for kind in ("*.mp4", "*.avi") for path in sorted(shared_data.rglob(kind))]
    assert paths
    for path in paths:
        clip = read_clip(path, eight, lambda frame: frame[:16, :16])
        with open_source(path) as source:
            times = [frame.time_s for frame in source]
        assert clip.total == len(times), path.name
        assert clip.duration_s == pytest.approx(times[-1], abs=0.3), path.name


def test_real_frame_folder(shared_data: Path) -> None:
    folder = next(path for path in sorted((shared_data / "ssv2small" / "val" / "val0").iterdir()) if path.is_dir())
    clip = read_clip(folder, partial(segment_indices, frames=8), lambda frame: frame[:16, :16])
    assert clip.indices.tolist() == list(range(8))


def test_odd_sizes_and_one_frame(tmp_path: Path) -> None:
    frames = np.full((1, 50, 34, 3), 90, np.uint8)
    clip = read_clip(write_video(tmp_path / "one.mp4", frames), partial(segment_indices, frames=1))
    assert clip.frames.shape == (1, 50, 34, 3)
