"""decord and PyAV bring the same frames, or decord is not asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from small_data import moving
from videos import turn_quarter, write_sound, write_video

from maclip.data import decoding
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.clip import Clip, read_clip
from maclip_runtime.reading.frames import segment_indices

Video = Callable[[Path], Path]
VIDEOS = {".mp4", ".avi"}


def encoded(name: str, codec: str, pixels: str = "yuv420p", size: tuple[int, int] = (64, 48), **options: str) -> Video:
    """How to write 80 frames; `options` are the encoder's."""

    def write(folder: Path) -> Path:
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = pixels
            for picture in moving("red", 40, 1):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(*size, format=pixels)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return folder / name

    return write


def uneven(folder: Path) -> Path:
    """Frames that last from 40 to 240 ms."""
    path = folder / "uneven.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        for i, picture in enumerate(moving("blue", 40, 2)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i + (i // 5) * 5, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(folder: Path) -> Path:
    return turn_quarter(write_video(folder / "turned.mp4", moving("red", 40, 1)))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call of decord brought."""
    brought: list[int] = []
    decode = decoding._decode

    def noting(*args: object) -> dict[int, np.ndarray]:
        frames = decode(*args)  # type: ignore[arg-type]
        brought.append(len(frames))
        return frames

    monkeypatch.setattr(decoding, "_decode", noting)
    return brought


def alike(path: Path) -> None:
    """Both decoders read `path` alike: centre views and random ones."""
    for seed in (None, 0, 1, 2):

        def view(total: int, seed: int | None = seed) -> np.ndarray:  # few frames: decord has to seek
            return segment_indices(total, 3, None if seed is None else np.random.default_rng(seed))

        one, other = (read(path, view, None) for read in (read_clip, decoding.reader("decord")))
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.indices, other.indices)
        assert (one.total, one.duration_s) == (other.total, other.duration_s)


@pytest.mark.parametrize(
    ("video", "asked"),
    [
        (encoded("plain.mp4", "mpeg4"), True),
        (encoded("odd.mp4", "libx264", size=(86, 62)), True),
        (encoded("groups.mp4", "libx264", g="6", bf="2"), True),
        (encoded("film.webm", "libvpx-vp9"), True),
        (uneven, True),
        (turned, False),
        (encoded("ten.mp4", "libx264", "yuv420p10le"), False),
        (encoded("open.mkv", "libx264", g="12", bf="3", **{"x264-params": "open-gop=1:b-adapt=0:scenecut=0"}), False),
        (encoded("b-frames.avi", "mpeg4", g="6", bf="2"), False),
        (encoded("stream.mpg", "mpeg2video"), False),
        (encoded("film.gif", "gif", "rgb8"), False),
    ],
    ids=[
        "plain",
        "odd",
        "groups",
        "vp9",
        "uneven",
        "turned",
        "ten-bit",
        "open-group",
        "b-frames",
        "program-stream",
        "gif",
    ],
)
def test_both_decoders_bring_the_same_frames(tmp_path, monkeypatch, video, asked):
    pytest.importorskip("decord")
    brought = counted(monkeypatch)
    alike(video(tmp_path))
    assert all(brought)
    assert len(brought) == (4 if asked else 0)


def test_both_decoders_bring_the_same_frames_of_real_clips(shared_data, monkeypatch):
    pytest.importorskip("decord")
    brought = counted(monkeypatch)
    # The larger ones take a second each, and show nothing new.
    paths = [p for p in sorted(shared_data.rglob("*")) if p.suffix in VIDEOS and p.stat().st_size < 720_000]
    asked = []
    for path in paths:
        before = len(brought)
        view = partial(segment_indices, frames=8)
        one, other = (read(path, view, None) for read in (read_clip, decoding.reader("decord")))
        np.testing.assert_array_equal(one.frames, other.frames)
        assert one.total == other.total
        if len(brought) > before:
            asked.append(path.parent.parent.name if path.parent.name == path.stem else path.parent.name)
    assert len(paths) >= 6
    assert "ibm_sports" not in asked  # they have edit lists
    assert len(asked) >= 4
    assert all(brought)


def damaged(folder: Path, what: str) -> Path:
    path = folder / f"{what}.mp4"
    whole = write_video(folder / "whole.mp4", moving("red", 40, 1)).read_bytes()
    match what:
        case "short":
            return write_video(path, moving("red", 3, 1))
        case "sound":
            return write_sound(path)
        case "folder":
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(whole[:300])
    return path


@pytest.mark.parametrize("what", ["short", "sound", "folder", "empty", "truncated", "missing"])
def test_decord_refuses_what_pyav_refuses_and_as_it_does(tmp_path, what):
    pytest.importorskip("decord")
    path = damaged(tmp_path, what)
    said = []
    for read in (read_clip, decoding.reader("decord")):
        with pytest.raises(MaclipError) as caught:
            read(path, partial(segment_indices, frames=8), None)
        said.append((caught.value.code, caught.value.message))
    assert said[0] == said[1]


def test_a_random_view_is_drawn_once_where_decord_fails(tmp_path, monkeypatch):
    pytest.importorskip("decord")
    path = write_video(tmp_path / "clip.mp4", moving("green", 40, 1))

    def read(how: decoding.ReadClip) -> tuple[Clip, float]:
        rng = np.random.default_rng(5)
        return how(path, partial(segment_indices, frames=8, rng=rng), None), rng.random()

    expected, after = read(read_clip)
    monkeypatch.setattr(decoding, "_decode", lambda *args: {})
    made, then = read(decoding.reader("decord"))
    np.testing.assert_array_equal(made.frames, expected.frames)
    assert then == after


def test_a_decoder_that_is_not_there_is_said(monkeypatch):
    with pytest.raises(MaclipError) as caught:
        decoding.reader("opencv")
    assert caught.value.code == "option-invalid"
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(MaclipError) as caught:
        decoding.reader("decord")
    assert (caught.value.code, caught.value.exit_code) == ("decoder-missing", 3)
    assert "pyav" in caught.value.fix
