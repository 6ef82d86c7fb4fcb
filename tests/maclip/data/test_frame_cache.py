"""Decoded frames are kept on disk, and no number changes by it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from small_data import moving
from videos import write_video

from maclip.data import clip_reader as reading
from maclip.data import disk_cache as clip_cache
from maclip.data.clip_reader import ClipReader
from maclip.data.disk_cache import ClipCache
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess

PREPROCESS = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def reads(cache: ClipCache | None = None, view_frames: int = 0) -> ClipReader:
    return ClipReader(PREPROCESS, 4, cache=cache, view_frames=view_frames)


def everything(reader: ClipReader, path: Path) -> list[np.ndarray]:
    """All that training and evaluation take from a clip, and where random numbers stand after it."""
    rng = np.random.default_rng(7)
    views = [reader.random(path, rng, mirror=True) for _ in range(4)]
    several = reader.random_views(path, 3, rng, mirror=True)
    return [*views, several, reader.centre(path), reader.spread(path, 8), np.array(rng.random())]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@contextmanager
def nothing_decoded() -> Iterator[None]:
    """Within, decoding a clip fails the test."""

    def never(*args: object) -> None:
        raise AssertionError("a clip was decoded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "reader", lambda decoder: never)
        yield


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", moving("red", 30, 1))


@pytest.mark.parametrize("view_frames", [0, 6])
@pytest.mark.parametrize("frames", [30, 5, 7])
def test_a_cache_changes_no_frame_and_the_second_time_nothing_is_decoded(tmp_path, frames, view_frames):
    path = write_video(tmp_path / "clip.mp4", moving("red", frames, 1))
    plain = everything(reads(view_frames=view_frames), path)
    cache = ClipCache(tmp_path / "cache")
    same(everything(reads(cache, view_frames), path), plain)
    with nothing_decoded():
        same(everything(reads(ClipCache(tmp_path / "cache"), view_frames), path), plain)


def test_a_clip_too_short_for_more_frames_is_refused_from_the_cache_too(tmp_path):
    path = write_video(tmp_path / "clip.mp4", moving("red", 10, 1))
    cache = ClipCache(tmp_path / "cache")
    everything(ClipReader(PREPROCESS, 8, cache=cache), path)
    longer = ClipReader(PREPROCESS, 16, cache=cache)
    rng = np.random.default_rng(0)
    for read in (longer.centre, lambda clip: longer.random(clip, rng), lambda clip: longer.spread(clip, 16)):
        with pytest.raises(MaclipError) as caught:
            read(path)
        assert caught.value.code == "clip-too-short"


def test_a_folder_of_pictures_is_cached_until_one_of_them_changes(tmp_path):
    from PIL import Image

    folder = tmp_path / "clip"
    folder.mkdir()
    for i, frame in enumerate(moving("blue", 9, 3)):
        Image.fromarray(frame).save(folder / f"{i}.png")
    reader = reads(ClipCache(tmp_path / "cache"))
    plain = everything(reads(), folder)
    same(everything(reader, folder), plain)
    with nothing_decoded():
        same(everything(reader, folder), plain)
    Image.fromarray(moving("green", 1, 4)[0]).save(folder / "4.png")
    changed = everything(reads(), folder)
    assert any((a != b).any() for a, b in zip(changed, plain, strict=True))
    same(everything(reader, folder), changed)


def test_a_bounded_cache_holds_so_many_frames_a_clip(tmp_path, clip):
    for view_frames, rows in ((0, 30), (6, 6)):
        folder = tmp_path / f"cache{view_frames}"
        reads(ClipCache(folder), view_frames).random(clip, np.random.default_rng(0))
        (file,) = files(folder)
        assert file.stat().st_size == pytest.approx(rows * 37 * 49 * 3, rel=0.05)


def test_views_cannot_be_drawn_from_fewer_frames_than_they_have():
    with pytest.raises(MaclipError) as caught:
        reads(view_frames=3)
    assert caught.value.code == "option-invalid"


@pytest.mark.parametrize("what", ["other clip", "other time", "other model", "other decoder"])
def test_what_was_kept_of_something_else_is_not_used(tmp_path, clip, monkeypatch, what):
    cache = ClipCache(tmp_path / "cache")
    everything(reads(cache), clip)
    reader = reads(cache)
    if what == "other clip":  # of the same size, and with the old one's time
        size, state = clip.stat().st_size, clip.stat()
        content = write_video(tmp_path / "new.mp4", moving("green", 30, 2)).read_bytes()
        clip.write_bytes(content.ljust(size, b"\0"))
        os.utime(clip, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    elif what == "other time":
        os.utime(clip, (1, 1))
    elif what == "other model":
        reader = ClipReader(Preprocess.for_size(40, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 4, cache=cache)
    else:
        monkeypatch.setattr(reading, "decoder_version", lambda decoder: "pyav 99")
    with nothing_decoded(), pytest.raises(AssertionError, match="was decoded"):
        reader.centre(clip)
    plain = ClipReader(reader.preprocess, 4)
    same(everything(reader, clip), everything(plain, clip))


@pytest.mark.parametrize("what", ["torn", "empty", "foreign", "zeros", "other clip's"])
def test_a_file_that_is_not_whole_or_not_ours_is_made_anew(tmp_path, clip, what):
    cache = ClipCache(tmp_path / "cache")
    plain = everything(reads(), clip)
    same(everything(reads(cache), clip), plain)
    other = write_video(tmp_path / "other.mp4", moving("green", 30, 9))
    everything(reads(ClipCache(tmp_path / "elsewhere")), other)
    foreign = sorted((file.read_bytes() for file in files(tmp_path / "elsewhere")), key=len)
    for file, theirs in zip(
        sorted(files(tmp_path / "cache"), key=lambda file: file.stat().st_size), foreign, strict=True
    ):
        size = file.stat().st_size
        match what:
            case "torn":
                os.truncate(file, size - 1000)
            case "empty":
                os.truncate(file, 0)
            case "foreign":
                file.write_bytes(b"not ours" * 400)
            case "zeros":
                file.write_bytes(bytes(size))
            case _:
                file.write_bytes(theirs)
    same(everything(reads(cache), clip), plain)
    with nothing_decoded():
        same(everything(reads(cache), clip), plain)


def test_a_broken_clip_is_refused_as_without_a_cache_and_not_kept(tmp_path):
    path = write_video(tmp_path / "short.mp4", moving("red", 3, 1))
    for read in (lambda r: r.centre(path), lambda r: r.random(path, np.random.default_rng(0))):
        said = []
        for reader in (reads(), reads(ClipCache(tmp_path / "cache"))):
            with pytest.raises(MaclipError) as caught:
                read(reader)
            said.append((caught.value.code, caught.value.message))
        assert said[0] == said[1]
    assert not files(tmp_path / "cache")


def test_a_full_disk_is_said_once_and_the_work_goes_on(tmp_path, clip):
    notes: list[str] = []
    cache = ClipCache(tmp_path / "cache", notes.append)
    plain = everything(reads(), clip)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # a write beyond that fails, as on a full disk
    try:
        same(everything(reads(cache), clip), plain)
        same(everything(reads(cache), clip), plain)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(notes) == 1
    assert str(tmp_path / "cache") in notes[0]
    assert not files(tmp_path / "cache")


def test_room_for_checkpoints_is_left_on_the_disk(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(clip_cache, "MIN_FREE_BYTES", 1 << 60)
    notes: list[str] = []
    reads(ClipCache(tmp_path / "cache", notes.append)).centre(clip)
    assert len(notes) == 1
    assert not files(tmp_path / "cache")


def test_a_cache_that_was_deleted_is_filled_again(tmp_path, clip):
    cache = ClipCache(tmp_path / "cache")
    plain = everything(reads(cache), clip)
    shutil.rmtree(tmp_path / "cache")
    same(everything(reads(cache), clip), plain)
    assert files(tmp_path / "cache")


WORKER = """
import sys
import numpy as np
from pathlib import Path
from maclip.data.disk_cache import ClipCache
from maclip.data.clip_reader import ClipReader
from maclip_runtime.reading.frames import Preprocess
out, cache, *clips = map(Path, sys.argv[1:])
reader = ClipReader(Preprocess.for_size(32, (0.5,) * 3, (0.5,) * 3), 4, cache=ClipCache(cache))
rng = np.random.default_rng(1)
np.save(out, np.stack([reader.random(clip, rng) for _ in range(3) for clip in clips]))
"""


def test_two_processes_share_a_cache(tmp_path):
    clips = [write_video(tmp_path / f"{i}.mp4", moving("red", 20, i)) for i in range(6)]
    command = [sys.executable, "-c", WORKER]
    both = [
        subprocess.Popen([*command, str(tmp_path / f"{n}.npy"), str(tmp_path / "cache"), *map(str, clips)])
        for n in range(2)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    rng = np.random.default_rng(1)
    plain = np.stack([reads().random(clip, rng) for _ in range(3) for clip in clips])
    for n in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{n}.npy"), plain)
    assert [file.suffix for file in files(tmp_path / "cache")] == [".safetensors"] * 6


def test_several_views_are_each_a_crop_of_their_own_frames(tmp_path):
    """Each view is found whole in the frames of the clip, one after another, under one crop; no two views are alike."""
    reader, clip = reads(), write_video(tmp_path / "32.mp4", moving("red", 32, 1))
    whole = reader.read(clip, np.arange).frames
    views = reader.random_views(clip, 5, np.random.default_rng(0)).reshape(5, 4, 32, 32, 3)

    def found(view: np.ndarray) -> list[tuple[int, int, list[int]]]:
        places = []
        for top in range(whole.shape[1] - 31):
            for left in range(whole.shape[2] - 31):
                seen = whole[:, top : top + 32, left : left + 32]
                at = [np.flatnonzero((seen == frame).all((1, 2, 3))) for frame in view]
                if all(len(each) for each in at):
                    places.append((top, left, [int(each[0]) for each in at]))
        return places

    places = [found(view) for view in views]
    assert all(len(each) == 1 for each in places)
    for _, _, frames in (each[0] for each in places):
        assert [frame // 8 for frame in frames] == [0, 1, 2, 3], "a frame of each segment"
    assert len({(top, left) for ((top, left, _),) in places}) > 1
    assert len({tuple(frames) for ((_, _, frames),) in places}) == 5
