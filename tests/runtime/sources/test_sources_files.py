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


def recode(source: Path, target: Path, wrong: int | None = None, by_s: float = 0.0) -> Path:
    """The same packets in another container; the stamp of packet `wrong` is off by `by_s` seconds."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(old.streams.video[0])):
            if packet.dts is None or packet.pts is None:
                continue
            if number == wrong:
                packet.pts += round(by_s / packet.time_base)
            packet.stream = stream
            new.mux(packet)
    return target


def with_b_frames(path: Path, codec: str = "libx264") -> Path:
    options = {"bf": "3", "b_strategy": "0"} if codec == "libx264" else {"bf": "2"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in color_frames("red", 40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v.avi", "libx264"),
        ("v.avi", "mpeg4"),
        ("v.asf", "libx264"),
        ("v.mp4", "libx264"),
        ("v.ts", "libx264"),
        ("v.flv", "libx264"),
        ("v.mpg", "mpeg2video"),
        ("v.h264", "libx264"),
    ],
)
def test_frames_out_of_decoding_order_have_their_own_times(tmp_path: Path, name: str, codec: str) -> None:
    path = with_b_frames(tmp_path / name, codec)
    with open_source(path) as source:
        times = [frame.time_s for frame in source]
    rate = 25 if name.endswith("h264") else 10  # a raw stream states none here
    clip = read_clip(path, four)
    if rate == 10:
        np.testing.assert_allclose(times, np.arange(40) / 10, atol=2e-3)
        assert clip.duration_s == pytest.approx(4.0, abs=0.11)
    assert (np.diff(times) > 0).all()
    assert clip.total == len(times) == 40


@pytest.mark.parametrize("by_s", [50.0, 0.3])
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_one_wrong_stamp_is_wrong_for_one_frame_alone(tmp_path: Path, suffix: str, by_s: float) -> None:
    path = with_b_frames(tmp_path / "v.mp4")
    with open_source(recode(path, tmp_path / f"one.{suffix}", 15, by_s)) as source:
        times = [frame.time_s for frame in source]
    np.testing.assert_allclose(times, np.arange(40) / 10, atol=0.06)


def test_a_gap_that_goes_on_is_a_gap(tmp_path: Path) -> None:
    """Recordings of what moves have pictures hours apart: only a stamp that stands alone is wrong."""
    from maclip_runtime.reading.times import timed

    stamps = [0.0, 0.1, 50.0, 50.1, 90.0]
    assert [time_s for _, time_s in timed(((None, one) for one in stamps), 0.1)] == stamps
    alone = [5.0, 5.1, 99.0, 5.3, None, 5.5, 1.0, 5.7]
    times = [time_s for _, time_s in timed(((None, one) for one in alone), 0.1)]
    np.testing.assert_allclose(times, np.arange(8) / 10)


def test_a_duration_is_that_of_the_pictures_and_not_of_a_header(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", color_frames("red", 30))
    fast = tmp_path / "fast.mp4"
    with av.open(str(path)) as old, av.open(str(fast), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    assert read_clip(fast, four).duration_s == pytest.approx(3.0, abs=0.01)
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size * 2 // 3])
    clip = read_clip(fast, four)
    assert 5 < clip.total < 28
    assert clip.duration_s == pytest.approx(clip.total / 10, abs=0.01)

    sound = tmp_path / "sound.mkv"
    with av.open(str(path)) as old, av.open(str(sound), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        silent = new.add_stream("aac", rate=48000)
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
        for number in range(20 * 47):  # 20 s
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            silence.sample_rate, silence.pts = 48000, number * 1024
            new.mux(silent.encode(silence))
        new.mux(silent.encode())
    assert read_clip(sound, four).duration_s == pytest.approx(3.0, abs=0.01)


def test_pictures_without_durations_last_as_long_as_their_times_say(tmp_path: Path) -> None:
    """A browser's recording: uneven times, no length of a frame, no length of the whole."""
    times_ms = np.cumsum(np.random.default_rng(1).integers(60, 140, 30))
    path = tmp_path / "v.webm"
    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp, pixels in zip(times_ms.tolist(), color_frames("red", 30), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert not container.duration
    span_s = (times_ms[-1] - times_ms[0]) / 1e3
    assert read_clip(path, four).duration_s == pytest.approx(span_s * 30 / 29, abs=0.01)
