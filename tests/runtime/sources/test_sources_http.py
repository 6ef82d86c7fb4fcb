"""Cameras and recordings over HTTP: pictures one after the other (MJPEG), playlists (HLS), files."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from videos import color_frames

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import SourceOptions, SourceState, open_source
from maclip_runtime.sources.connection import ConnectionLost
from maclip_runtime.sources.ffmpeg import FFmpegConnection

PATIENCE = 20.0  # seconds, for a busy machine


class Camera(BaseHTTPRequestHandler):
    """Ten pictures a second, each connection in another size; goes away after eight."""

    connections = 0
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        type(self).connections += 1
        jpeg = io.BytesIO()
        Image.new("RGB", (64, 16 * self.connections), (20, 230, 20)).save(jpeg, "JPEG")
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(8):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
            self.wfile.write(f"Content-Length: {len(jpeg.getvalue())}\r\n\r\n".encode() + jpeg.getvalue() + b"\r\n")
            time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        pass


class Files(SimpleHTTPRequestHandler):
    """Files; with the query `cut`, all but the end."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        outputfile.write(content[: len(content) * 3 // 4] if self.path.endswith("?cut") else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address under which the files of `tmp_path` are served."""
    monkeypatch.chdir(tmp_path)
    yield from _serve(Files)


@pytest.fixture
def camera() -> Iterator[str]:
    Camera.connections = 0
    yield from _serve(Camera)


def _serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _h264(path: Path, seconds: float, options: dict[str, str] | None = None) -> None:
    """Red and then green, 20 frames a second."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=20, options={"preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        count = round(seconds * 10)
        for pixels in np.concatenate([color_frames("red", count), color_frames("green", count)]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def test_mjpeg_goes_by_the_clock_and_comes_back_in_another_size(camera: str) -> None:
    with open_source(f"{camera}/video?token=s3cret", SourceOptions(stall_s=2.0)) as source:
        frames = []
        while len(frames) < 12:
            frame = source.read(PATIENCE)
            assert frame is not None
            frames.append(frame)
        assert "s3cret" not in f"{source.name} {source.status}"
    second = next(place for place, frame in enumerate(frames) if frame.restarted)
    assert [frame.restarted for frame in frames].count(True) == 1
    assert frames[0].pixels.shape == (16, 64, 3)
    assert frames[second].pixels.shape == (32, 64, 3)
    # As they came; FFmpeg would have it that each takes 1/25 s.
    assert frames[second - 1].time_s / frames[second - 1].index == pytest.approx(0.1, abs=0.03)
    assert (np.diff([frame.time_s for frame in frames]) > 0).all()


def test_hls_comes_in_bursts_and_is_given_evenly(served: str, tmp_path: Path) -> None:
    _h264(tmp_path / "live.m3u8", 1.5, {"hls_time": "0.5", "hls_list_size": "0"})
    began = time.monotonic()
    with open_source(f"{served}/live.m3u8", SourceOptions(reconnects=0)) as source:
        frames = []
        while (frame := source.read(PATIENCE)) is not None:
            frames.append(frame)
        status = source.status
    assert status.state is SourceState.ENDED
    assert status.reconnects == 0
    assert len(frames) + status.dropped == 30
    assert len(frames) > 15
    assert frames[-1].time_s == pytest.approx(29 / 20, abs=0.05)
    assert time.monotonic() - began > 1.4


def test_a_recording_ends_and_one_that_is_cut_off_is_lost(served: str, tmp_path: Path) -> None:
    _h264(tmp_path / "whole.ts", 0.5)
    with open_source(f"{served}/whole.ts", SourceOptions(reconnects=0)) as source:
        times = [frame.time_s for frame in iter(lambda: source.read(PATIENCE), None)]
        assert source.status.state is SourceState.ENDED
    assert times[-1] == pytest.approx(9 / 20, abs=0.02)
    assert source.status.problem == ""
    cut_url = served.replace("http://", "http://me:s3cret@") + "/whole.ts?cut"
    with open_source(cut_url, SourceOptions(reconnects=0)) as source:
        with pytest.raises(MaclipError, match="stopped sending") as caught:
            list(source)
        assert caught.value.code == "source-lost"
        with pytest.raises(MaclipError, match="stopped sending"):
            source.read()
    assert "s3cret" not in f"{caught.value!r} {source.status}"


@pytest.mark.parametrize("playlist", ["list.m3u8", "list.ffconcat"])
def test_a_playlist_on_the_network_opens_no_file_of_this_machine(served: str, tmp_path: Path, playlist: str) -> None:
    _h264(tmp_path / "own.ts", 0.5)
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\n{}\n#EXT-X-ENDLIST\n"
    text = hls if playlist.endswith("m3u8") else "ffconcat version 1.0\nfile '{}'\n"
    path = tmp_path / playlist
    path.write_text(text.format((tmp_path / "own.ts").as_uri()))
    with pytest.raises(MaclipError) as caught:
        open_source(f"{served}/{playlist}")
    assert caught.value.code == "source-lost"
    if playlist.endswith("m3u8"):  # the same list with an address on the network is read
        path.write_text(text.format(f"{served}/own.ts"))
        with open_source(f"{served}/{playlist}") as source:
            assert source.read(PATIENCE) is not None


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        with pytest.raises(ConnectionLost, match=r"came within 0.3 s"):
            FFmpegConnection(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/a", None, {}, open_s=0.3, read_s=1.0)
    assert 0.3 <= time.monotonic() - begun < 2.0


def test_nothing_that_is_printed_or_logged_holds_a_password() -> None:
    program = (
        "import logging, os; logging.basicConfig(level=1)\n"
        "from maclip_runtime.sources import open_source\n"
        "open_source(os.environ['URI'])\n"
    )
    for uri in ("http://me:s3cret@127.0.0.1:1/a?key=s3cret", "rtsp://me:s3cret@127.0.0.1:1/a"):
        run = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "URI": uri}, capture_output=True, text=True, timeout=60
        )
        assert "***@127.0.0.1:1/a" in run.stderr  # a whole traceback, with what caused it
        assert "s3cret" not in run.stdout + run.stderr
