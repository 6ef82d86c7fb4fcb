"""Video files as they are found: odd times, odd pixels, changing sizes, damage; and lists that lead elsewhere."""

from __future__ import annotations

import gc
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import COLOURS, color_frames, color_video, turn_quarter, write_video

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import resize_short, segment_indices
from maclip_runtime.sources import Roi, SourceOptions, open_source

four = partial(segment_indices, frames=4)


def encode(path: Path, codec: str, pixel_format: str, frames: list[av.VideoFrame], rate: int = 10) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixel_format
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_frames_have_the_times_that_the_file_gives_them(tmp_path: Path) -> None:
    stamps_ms = [40, 73, 500, 501, 2000, 2040]
    path = tmp_path / "phone.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp, pixels in zip(stamps_ms, color_frames("red", len(stamps_ms)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with open_source(path) as source:
        times = [frame.time_s for frame in source]
    np.testing.assert_allclose(times, (np.array(stamps_ms) - stamps_ms[0]) / 1e3, atol=1e-6)


def test_joined_recordings_go_on_in_time_and_may_change_size(tmp_path: Path) -> None:
    small = write_video(tmp_path / "a.ts", color_frames("red", 10))
    large = write_video(tmp_path / "b.ts", color_frames("green", 10).repeat(2, 1).repeat(2, 2))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes() + small.read_bytes())
    with open_source(joined) as source:
        frames = list(source)
    assert {frame.pixels.shape for frame in frames} == {(48, 64, 3), (96, 128, 3)}
    assert len(frames) >= 28
    steps = np.diff([frame.time_s for frame in frames])
    assert steps.min() > 0.03  # no time stands still or goes back where a recording begins anew
    assert steps.max() < 0.25
    clip = read_clip(joined, four, partial(resize_short, short=32))
    assert clip.frames.shape == (4, 32, 43, 3)
    with pytest.raises(MaclipError, match="different sizes"):
        read_clip(joined, four)


@pytest.mark.parametrize(
    ("pixel_format", "codec"),
    [
        ("yuv420p10le", "ffv1"),
        ("yuv444p16le", "ffv1"),
        ("yuv410p", "ffv1"),
        ("yuva420p", "ffv1"),
        ("bgra", "ffv1"),
        ("gray", "ffv1"),
        ("gray10le", "ffv1"),
        ("gray16be", "png"),
        ("ya8", "png"),
        ("monob", "png"),
        ("rgba64be", "png"),
        ("rgb565le", "rawvideo"),
        ("nv12", "rawvideo"),
        ("uyvy422", "rawvideo"),
    ],
)
def test_odd_pixels_are_shown_as_rgb(tmp_path: Path, pixel_format: str, codec: str) -> None:
    size = (42, 34)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2] = COLOURS["red"]
    pixels[:, size[0] // 2 :] = 255
    frames = [av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format) for _ in range(4)]
    path = encode(tmp_path / "odd.nut", codec, pixel_format, frames)
    clip = read_clip(path, four)
    with open_source(path) as source:
        np.testing.assert_array_equal([frame.pixels for frame in source], clip.frames)
    assert clip.frames.shape == (4, *pixels.shape)
    left, right = clip.frames[0, :, 2:18].mean(axis=(0, 1)), clip.frames[0, :, 24:].mean(axis=(0, 1))
    assert right.min() > 245
    without_colour = pixel_format.startswith(("gray", "ya", "mono"))
    assert np.abs(left - (left.mean() if without_colour else COLOURS["red"])).max() < 16
    assert left.mean() < 130


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0] = 255  # alpha, red, green, blue
    palette[7, 1:] = COLOURS["blue"]
    frame = av.VideoFrame.from_ndarray((np.full((34, 42), 7, np.uint8), palette), format="pal8")
    with open_source(encode(tmp_path / "palette.nut", "png", "pal8", [frame] * 3)) as source:
        frames = list(source)
    assert len(frames) == 3
    np.testing.assert_array_equal(frames[1].pixels[3, 5], COLOURS["blue"])


def test_the_region_of_interest_is_cut_from_the_upright_picture(tmp_path: Path) -> None:
    frames = color_frames("blue", 4)
    frames[:, :24] = 255  # turned clockwise, the white half lies on the right
    path = turn_quarter(write_video(tmp_path / "phone.mp4", frames))
    with open_source(path, SourceOptions(roi=Roi.parse("0.5, 0, 0.5, 0.25"))) as source:
        pixels = next(iter(source)).pixels
    assert pixels.shape == (16, 24, 3)
    assert pixels[:, 4:].min() > 180
    Image.fromarray(frames[0]).save(tmp_path / "1.png")
    with open_source(tmp_path, SourceOptions(roi=Roi(0, 0, 1, 0.5))) as source:
        np.testing.assert_array_equal(next(iter(source)).pixels, frames[0, :24])


@pytest.mark.parametrize(
    "text", ["", "1,2", "a,b,c,d", "0,0,0,1", "0.6,0,0.5,1", "-0.1,0,1,1", "nan,0,1,1", "0,0,100,100"]
)
def test_a_region_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MaclipError, match="not a region of a picture") as caught:
        Roi.parse(text)
    assert caught.value.code == "roi-invalid"
    assert "0.5,0,0.5,1" in caught.value.fix


def test_the_smallest_region_is_a_pixel() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    view = Roi(0.999, 0.999, 0.001, 0.001).view(pixels)
    np.testing.assert_array_equal(view, pixels[3:, 5:])
    assert np.shares_memory(view, pixels)
    np.testing.assert_array_equal(Roi(0.7, 0, 0.3, 1).view(pixels), pixels[:, 4:])
    np.testing.assert_array_equal(Roi(0.1, 0.1, 0.01, 0.01).view(pixels), pixels[:1, 1:2])


@pytest.mark.parametrize("options", [{"stall_s": 0.0}, {"stall_s": float("nan")}, {"reconnects": -1}])
def test_impossible_patience_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(MaclipError, match=r"stall_s is|reconnects is") as caught:
        SourceOptions(**options)  # type: ignore[arg-type]
    assert caught.value.code == "option-invalid"


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 26\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", HLS),
        ("list.mp4", HLS),
        ("list.ffconcat", "ffconcat version 1.0\nfile {name}\n"),
        ("list.mkv", "ffconcat version 1.0\nfile {name}\n"),
        ("camera.sdp", SDP),
    ],
)
def test_a_list_on_disk_leads_to_no_other_file(tmp_path: Path, name: str, text: str) -> None:
    color_video(tmp_path / "own.ts", [("red", 1.0)])
    (tmp_path / name).write_text(text.format(name="own.ts"))
    for read in (open_source, partial(read_clip, choose=four)):
        with pytest.raises(MaclipError, match="is a playlist") as caught:
            read(tmp_path / name)
        assert caught.value.code == "clip-unreadable"


def test_a_name_with_a_number_sign_is_no_row_of_pictures(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (32, 32)).save(tmp_path / f"f{number}.png")
    (tmp_path / "f%d.png").write_bytes((tmp_path / "f0.png").read_bytes())
    with pytest.raises(MaclipError, match="not read as video"):
        open_source(tmp_path / "f%d.png")


def test_a_frame_that_was_read_is_freed_at_once(tmp_path: Path) -> None:
    path = color_video(tmp_path / "v.mp4", [("red", 2.0)])
    gc.collect()
    gc.disable()  # what only the collector frees are megabytes a frame until it runs
    try:
        with open_source(path) as source:
            frames = sum(frame.pixels.any() for frame in source)
        assert frames == 20
        kept = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
        assert kept <= 1  # the decoder's own, empty one
    finally:
        gc.enable()


def test_a_packet_that_is_no_picture_is_skipped(tmp_path: Path) -> None:
    frames = [av.VideoFrame.from_ndarray(pixels, format="rgb24") for pixels in color_frames("red", 6)]
    path = encode(tmp_path / "v.avi", "png", "rgb24", frames)
    data = path.read_bytes()
    third = [place for place in range(len(data)) if data.startswith(b"\x89PNG", place)][2]
    path.write_bytes(data[:third] + bytes(32) + data[third + 32 :])
    with open_source(path) as source:
        times = [frame.time_s for frame in source]
    # FFmpeg's parser takes what begins like no PNG for a part of its neighbour.
    np.testing.assert_allclose(times, [0.0, 0.1, 0.4, 0.5], atol=1e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_damage_costs_the_frames_it_hit(tmp_path: Path, suffix: str) -> None:
    path = color_video(tmp_path / f"v.{suffix}", [("red", 6.0)])
    data = bytearray(path.read_bytes())
    for place in (0.3, 0.5, 0.7):
        start = int(len(data) * place)
        data[start : start + 60] = bytes(60)
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source)
    assert 40 <= len(frames) <= 60
    assert frames[-1].time_s > 5.5
