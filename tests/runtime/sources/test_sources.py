"""Frames from files and folders: upright, in order, with times; and every kind of file that is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import color_frames, color_video, turn_quarter, write_sound, write_video

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import is_live, open_source, redact


def test_video_gives_frames_with_times(clips: Path) -> None:
    with open_source(clips / "red1.mp4") as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(10))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(10) / 10, atol=1e-3)
    assert frames[0].pixels.shape == (48, 64, 3)
    assert frames[0].pixels.dtype == np.uint8
    assert np.abs(frames[0].pixels.mean(axis=(0, 1)) - [230, 20, 20]).max() < 15  # RGB, not BGR


def test_phone_video_is_turned_upright(tmp_path: Path) -> None:
    frames = color_frames("blue", 4)
    frames[:, :24] = 255  # the upper half white: turned clockwise it lies on the right
    path = turn_quarter(write_video(tmp_path / "phone.mp4", frames))
    with open_source(path) as source:
        pixels = next(iter(source)).pixels
    assert pixels.shape == (64, 48, 3)
    assert pixels[:, 30:].min() > 180
    assert pixels[:, :18].mean() < 120


def test_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"f{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    with open_source(tmp_path) as source:
        frames = list(source)
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 9, 10]
    assert [frame.time_s for frame in frames] == [0.0, 0.125, 0.25]


def test_broken_packets_are_skipped(tmp_path: Path) -> None:
    path = color_video(tmp_path / "v.avi", [("red", 3.0)])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source)
    assert 20 <= len(frames) <= 30
    assert frames[-1].time_s > 2.5


def _text(path: Path) -> Path:
    path.write_text("just words\n" * 50)
    return path


def _truncated(path: Path) -> Path:
    color_video(path, [("red", 1.0)])
    path.write_bytes(path.read_bytes()[:300])
    return path


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("missing.mp4", lambda path: path, "does not exist"),
        ("empty.mp4", lambda path: path.touch(), "is empty"),
        ("sound.mp4", write_sound, "no video track"),
        ("words.mp4", _text, "cannot be read"),
        ("words.txt", _text, "not read as video"),
        ("truncated.mp4", _truncated, "cannot be read"),
        ("folder", lambda path: path.mkdir(), "has no frames"),
    ],
)
def test_unreadable_sources_say_why(tmp_path: Path, name: str, make: object, said: str) -> None:
    make(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(MaclipError, match=said) as caught, open_source(tmp_path / name) as source:
        list(source)
    assert caught.value.code == "clip-unreadable"
    assert caught.value.exit_code == 2
    assert name in caught.value.message


def test_a_playlist_on_disk_opens_nothing_on_the_network(tmp_path: Path) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1.0)
        asked: list[bool] = []

        def listen() -> None:
            try:
                server.accept()[0].close()
                asked.append(True)
            except TimeoutError:
                pass

        thread = threading.Thread(target=listen)
        thread.start()
        port = server.getsockname()[1]
        playlist = tmp_path / "list.m3u8"
        playlist.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(MaclipError), open_source(playlist) as source:
            list(source)
        thread.join()
    assert not asked


def test_a_name_is_not_a_protocol(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(clips / "red1.mp4", "concat:red1.mp4")
    with open_source("concat:red1.mp4") as source:
        assert len(list(source)) == 10
    with pytest.raises(MaclipError) as caught:
        open_source(f"concat:{clips / 'red1.mp4'}|{clips / 'red2.mp4'}")
    assert caught.value.code == "clip-unreadable"


def test_lost_address_is_told_without_its_password() -> None:
    with pytest.raises(MaclipError) as caught:
        open_source("http://me:se@cret@127.0.0.1:1/stream?token=abc")
    assert caught.value.code == "source-lost"
    for secret in ("se@cret", "cret", "abc"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(MaclipError, match="rtsp://") as caught:
        open_source("ftp://a/b")
    assert caught.value.code == "source-unknown"


def test_missing_camera_is_told() -> None:
    with pytest.raises(MaclipError) as caught:
        open_source("/dev/video97")
    assert caught.value.code == "source-lost"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://u:p@h/1", "rtsp://***@h/1"),
        ("rtsp://h/1?user=u&password=p", "rtsp://h/1?user=***&password=***"),
        ("a@b.mp4", "a@b.mp4"),
        ("clips/who?=me.mp4", "clips/who?=me.mp4"),
    ],
)
def test_redact(uri: str, shown: str) -> None:
    assert redact(uri) == shown


def test_is_live() -> None:
    assert all(is_live(uri) for uri in (0, "0", "/dev/video0", "v4l2:///dev/video0", "RTSP://h/1"))
    assert not any(is_live(uri) for uri in ("a.mp4", Path("b"), "file:///c.mp4"))


def test_file_address_is_a_file(clips: Path) -> None:
    with open_source((clips / "red1.mp4").as_uri()) as source:
        assert len(list(source)) == 10
