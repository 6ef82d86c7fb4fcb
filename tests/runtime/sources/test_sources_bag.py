"""Recordings of ROS 1 and 2 as sources: pictures, times, topics, and what is wrong with one."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bag_files import START_NS, Messages, color_bag
from videos import color_frames

from maclip_runtime import Archive, MaclipError, Recognizer
from maclip_runtime.archive.strips import strip_of
from maclip_runtime.archive.videos import look_at, state_of
from maclip_runtime.reading.ros_images import picture_of
from maclip_runtime.sources import is_live, is_recorded, open_source, redact, split_name

RED = (200, 30, 60)
FORMS = ("bag", "mcap", "db3")


def solid(*values: int, height: int = 4, width: int = 6) -> np.ndarray:
    """uint8 [H, W, len(values)], each pixel the same."""
    return np.tile(np.array(values, np.uint8), (height, width, 1))


def error_of(use: Callable[[], object]) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        use()
    return caught.value


def read_all(address: str) -> list[np.ndarray]:
    with open_source(address) as source:
        return [frame.pixels for frame in source]


@pytest.mark.parametrize("form", FORMS)
def test_each_picture_of_the_only_topic_comes_at_the_time_of_its_header(form: str, tmp_path: Path) -> None:
    messages = Messages(form)
    taken_ns = [START_NS + at for at in (0, 40_000_000, 130_000_000)]
    images = [(messages.image(solid(*RED), "rgb8", at), at + 7_000_000 * n) for n, at in enumerate(taken_ns)]
    path = messages.write(tmp_path / f"run.{form}", {"/camera/image": images})
    with open_source(f"bag:{path}") as source:
        assert not source.live
        assert source.length_s == pytest.approx(0.144)
        frames = list(source)
        assert source.status.state.value == "ended"
    np.testing.assert_allclose([frame.time_s for frame in frames], [0.0, 0.04, 0.13], atol=1e-6)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert all((frame.pixels == RED).all() and frame.pixels.shape == (4, 6, 3) for frame in frames)


def test_without_stamps_the_times_of_recording_count(tmp_path: Path) -> None:
    messages = Messages("mcap")
    images = [(messages.image(solid(*RED), "rgb8", 0), START_NS + at) for at in (0, 50_000_000, 200_000_000)]
    path = messages.write(tmp_path / "run.mcap", {"/image": images})
    with open_source(f"bag:{path}") as source:
        np.testing.assert_allclose([frame.time_s for frame in source], [0.0, 0.05, 0.2], atol=1e-6)


ENCODINGS = {
    "rgb8": RED,
    "bgr8": RED[::-1],
    "8UC3": RED[::-1],
    "rgba8": (*RED, 9),
    "bgra8": (*RED[::-1], 9),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_colours_are_those_of_the_encoding_also_in_padded_rows(encoding: str) -> None:
    message = Messages("mcap").image(solid(*ENCODINGS[encoding]), encoding, START_NS, pad=5)
    made = picture_of(message, "it")
    assert callable(made)
    assert made().tolist() == solid(*RED).tolist()


@pytest.mark.parametrize(
    ("encoding", "bytes_of_pixel", "big"),
    [("mono8", (77,), 0), ("8UC1", (77,), 0), ("mono16", (5, 77), 0), ("mono16", (77, 5), 1)],
)
def test_grey_is_grey(encoding: str, bytes_of_pixel: tuple[int, ...], big: int) -> None:
    made = picture_of(Messages("mcap").image(solid(*bytes_of_pixel), encoding, START_NS, big=big), "it")
    assert callable(made)
    assert made().tolist() == solid(77, 77, 77).tolist()


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_luma_and_chroma_are_told_apart(encoding: str) -> None:
    luma, blue, red = 81, 90, 240  # pure red, in the limited range of BT.601
    first, second = ([blue, luma], [red, luma]) if encoding in {"yuv422", "uyvy"} else ([luma, blue], [luma, red])
    rows = np.tile(np.array([first, second], np.uint8), (4, 3, 1))
    made = picture_of(Messages("mcap").image(rows, encoding, START_NS, pad=4), "it")
    assert callable(made)
    assert np.abs(made().astype(int) - (255, 0, 0)).max() < 6


def test_bayer_patterns_are_filled_in() -> None:
    mosaic = np.zeros((16, 16, 1), np.uint8)
    mosaic[0::2, 0::2] = 200  # only the red cells
    made = picture_of(Messages("mcap").image(mosaic, "bayer_rggb8", START_NS), "it")
    assert callable(made)
    middle = made()[4:12, 4:12].reshape(-1, 3).mean(0)
    assert middle[0] > 150
    assert middle[1:].max() < 30


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_compressed_pictures_are_decoded_and_broken_ones_left_out(kind: str, tmp_path: Path) -> None:
    messages = Messages("mcap")
    made = [messages.compressed(solid(*RED, height=16, width=16), START_NS + n, kind) for n in range(3)]
    made[1] = messages.compressed(solid(*RED), START_NS + 1, kind, data=b"no picture")
    path = messages.write(
        tmp_path / "run.mcap", {"/image/compressed": [(one, START_NS + n) for n, one in enumerate(made)]}
    )
    pictures = read_all(f"bag:{path}")
    assert len(pictures) == 2
    assert np.abs(pictures[1].astype(int) - RED).max() < 8


@pytest.fixture
def two_topics(tmp_path: Path) -> Path:
    messages = Messages("mcap")
    red, blue = (messages.image(solid(*color), "rgb8", START_NS) for color in (RED, (0, 0, 255)))
    return messages.write(tmp_path / "two.mcap", {"/a": [(red, START_NS)], "/b/image": [(blue, START_NS)]})


def test_of_several_topics_one_is_chosen(two_topics: Path) -> None:
    assert read_all(f"bag:{two_topics}?topic=/b/image")[0][0, 0].tolist() == [0, 0, 255]
    many = error_of(lambda: open_source(f"bag:{two_topics}"))
    assert many.code == "clip-topic-unknown"
    assert "2 topics with pictures" in many.message
    other = error_of(lambda: open_source(f"bag:{two_topics}?topic=/c"))
    assert other.code == "clip-topic-unknown"
    assert "/c" in other.message
    assert other.fix == many.fix == f"Choose one: bag:{two_topics}?topic=/a, bag:{two_topics}?topic=/b/image."


def test_topics_of_one_recording_are_two_videos_that_are_found_from_anywhere(
    two_topics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_topics.parent)
    one, other = (look_at(f"bag:{two_topics.name}?topic={topic}") for topic in ("/a", "/b/image"))
    assert one.digest != other.digest
    assert one.name == f"bag:{two_topics.name}?topic=/a"
    assert one.path == f"bag:{two_topics}?topic=/a"
    assert state_of(one.path, one.digest) == "there"
    assert error_of(lambda: look_at("bag:none.mcap")).code == "clip-unreadable"


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    messages = Messages("mcap")
    depth = messages.image(solid(0, 0, 128, 63), "32FC1", START_NS)
    deep = messages.compressed(solid(*RED), START_NS, "16UC1; compressedDepth png", data=b"depth")
    for name, message in (("raw", depth), ("deep", deep)):
        path = messages.write(tmp_path / f"{name}.mcap", {"/depth": [(message, START_NS)]})
        error = error_of(lambda path=path: read_all(f"bag:{path}"))
        assert error.code == "clip-encoding-unknown"
        assert "rgb8" in error.fix
    short = messages.image(solid(*RED), "rgb8", START_NS)
    short.height = 400
    path = messages.write(tmp_path / "short.mcap", {"/image": [(short, START_NS)]})
    assert "holds no picture" in error_of(lambda: read_all(f"bag:{path}")).message
    huge = messages.image(solid(*RED), "rgb8", START_NS)
    huge.height = huge.width = 20_000
    assert error_of(lambda: picture_of(huge, "it")).code == "video-too-large"


@pytest.mark.parametrize("form", FORMS)
def test_a_torn_recording_is_an_error_with_its_repair(form: str, tmp_path: Path) -> None:
    path = color_bag(tmp_path / f"run.{form}", color_frames("red", 20), form)
    torn = path if path.is_file() else next(path.glob("*.db3"))
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    error = error_of(lambda: read_all(f"bag:{path}"))
    assert error.code == "clip-unreadable"
    assert "reindex" in error.fix or "damaged" in error.message


@pytest.mark.parametrize("name", ["missing.mcap", "folder", "text.bag", "text.mcap", "empty.db3"])
def test_what_is_no_recording_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.db3").touch()
    for text in ("text.bag", "text.mcap"):
        (tmp_path / text).write_text("no recording, whatever it is called")
    error = error_of(lambda: open_source(f"bag:{tmp_path / name}"))
    assert error.code == "clip-unreadable"
    assert ".mcap" in error.fix


@pytest.mark.parametrize("address", ["bag:", "bag:a.mcap?topic=", "bag:a.mcap?topics=/a", "bag:?topic=/a"])
def test_an_address_that_names_no_recording_is_refused(address: str) -> None:
    error = error_of(lambda: open_source(address))
    assert error.code == "source-unknown"
    assert "bag:FILE?topic=" in error.fix


def test_rosbags_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name.startswith("rosbags"):
            raise ImportError(name)
        return real(name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    error = error_of(lambda: open_source(f"bag:{tmp_path / 'run.mcap'}"))
    assert (error.code, error.exit_code) == ("source-missing", 3)
    assert "maclip[ros]" in error.fix


def test_addresses_keep_their_topic_and_may_have_a_name() -> None:
    address = "bag:/home/me/run.mcap?topic=/camera/image"
    assert redact(address) == address
    assert redact(f"arm={address}") == f"arm={address}"
    assert split_name(f"arm={address}") == ("arm", address)
    assert split_name(address) == (None, address)
    assert is_recorded(address)
    assert not is_live(address)


def test_recordings_are_enrolled_recognised_and_indexed(bundle: Path, gallery: Path, tmp_path: Path) -> None:
    clips = [f"bag:{color_bag(tmp_path / f'{n}.mcap', color_frames('red', 10, seed=n))}" for n in range(2)]
    green = f"bag:{color_bag(tmp_path / 'g.bag', color_frames('green', 10), 'bag')}?topic=/camera/image"
    frames = np.concatenate([color_frames("red", 40), color_frames("green", 40)])
    long = f"bag:{color_bag(tmp_path / 'long.db3', frames, 'db3')}"
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("red light", clips)
        recognizer.enroll("green light", [green])
        assert [clip.source for clip in recognizer.gallery.clips("green light")] == [green]
        assert recognizer.classify(green).label == "green light"
        said = [(event.kind, event.label) for event in recognizer.watch(long) if event.kind != "update"]
        tiny = f"bag:{color_bag(tmp_path / 'tiny.mcap', color_frames('red', 3))}"
        assert error_of(lambda: recognizer.classify(tiny)).code == "clip-too-short"
    assert said == [("start", "red light"), ("end", "red light"), ("start", "green light"), ("end", "green light")]
    short = f"bag:{color_bag(tmp_path / 'short.mcap', color_frames('red', 5))}"
    pytest.importorskip("pyarrow")
    with Archive.open(tmp_path / "store", bundle, device="cpu", threads=1) as archive:
        done = archive.index([long, short])
        assert done.videos == [long, short]
        assert archive.index([long]).there == [long]
        best = archive.find([green], top=1).found[0]
    assert best.path == long
    assert best.start_s >= 3.0
    assert best.link == long
    assert strip_of(best.path, best.start_s, best.end_s) is not None
