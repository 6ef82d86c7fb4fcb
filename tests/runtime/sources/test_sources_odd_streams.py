"""Streams over HTTP that are not what their headers say, and formats under FFmpeg's other names for them."""

from __future__ import annotations

import io
import itertools
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import color_frames, color_video

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import SourceOptions, SourceState, open_source
from maclip_runtime.tools.measuring.memory import peak_resident_mib

PATIENCE = 20.0  # seconds, for a busy machine


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server whose every answer `answer` writes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the reader has gone
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def head(handler: BaseHTTPRequestHandler, kind: str, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def h264(path: Path, count: int, sound_s: float = 0.0, options: dict[str, str] | None = None, rate: int = 15) -> Path:
    """`count` red pictures, 15 a second, and silence of `sound_s` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=48000) if sound_s else None
        for pixels in color_frames("red", count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        for number in range(int(sound_s * 48000 / 1024)):
            assert sound is not None
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            silence.sample_rate, silence.pts = 48000, number * 1024
            container.mux(sound.encode(silence))
        if sound:
            container.mux(sound.encode())
    return path


def jpeg(width: int = 64, height: int = 48) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (230, 20, 20)).save(buffer, "JPEG", quality=10)
    return buffer.getvalue()


def test_a_camera_is_held_to_the_same_size_as_a_file() -> None:
    picture = jpeg(8_000, 8_000)
    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture + b"\r\n"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "multipart/x-mixed-replace; boundary=frame")
        for _ in itertools.count():
            handler.wfile.write(part)

    before = peak_resident_mib()
    with served(answer) as base, pytest.raises(MaclipError, match="8000 x 8000") as caught:
        open_source(f"{base.replace('//', '//me:s3cret@')}/x")
    assert caught.value.code == "video-too-large"
    assert "s3cret" not in str(caught.value)
    after = peak_resident_mib()
    assert before is None or after is None or after - before < 150


def nginx(flv: bytes) -> bytes:
    """An FLV file as nginx-rtmp sends it, which FFmpeg calls live_flv: it begins with the server's name."""
    server = b"NGINX RTMP (github.com/arut/nginx-rtmp-module)"
    named = b"\x02\x00\x0aonMetaData\x03\x00\x06Server\x02" + struct.pack(">H", len(server)) + server + b"\0\0\x09"
    tag = b"\x12" + len(named).to_bytes(3, "big") + bytes(7) + named
    return flv[:13] + tag + struct.pack(">I", len(tag)) + flv[13:]


def test_formats_under_ffmpegs_other_names_are_read_from_disk_and_network(tmp_path: Path) -> None:
    noise = io.BytesIO()  # what FFmpeg looks at first must not hold several pictures, or it finds plain MJPEG
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)).save(noise, "JPEG")
    made = {
        "camera.mjpeg": noise.getvalue() * 12,
        "nginx.flv": nginx(h264(tmp_path / "plain.flv", 12).read_bytes()),
    }
    names = set()
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
        with av.open(str(tmp_path / name)) as container:
            names.add(container.format.name)
        with open_source(tmp_path / name) as source:
            assert len(list(source)) == 12, name

    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = made[handler.path[1:]]
        head(handler, "video/x-anything", len(data))
        handler.wfile.write(data)

    with served(answer) as base:
        for name in made:
            with open_source(f"{base}/{name}") as source:
                assert source.read(PATIENCE) is not None, name
    assert names == {"jpeg_pipe", "live_flv"}


def test_sound_that_was_promised_and_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    """At the pace of a camera: FFmpeg by itself would look for the sound until its 5 MB are full."""
    flv = bytearray(h264(tmp_path / "v.flv", 15 * 20).read_bytes())
    flv[4] = 5  # picture and sound
    stop = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "video/x-flv")
        for start in range(0, len(flv), len(flv) // 400):  # 20 s in 400 pieces
            handler.wfile.write(flv[start : start + len(flv) // 400])
            if stop.wait(0.05):
                return

    with served(answer) as base, open_source(f"{base}/v.flv", SourceOptions(reconnects=0)) as source:
        assert source.status.problem == ""
        assert source.read(PATIENCE) is not None
        stop.set()


@pytest.mark.parametrize("suffix", ["mkv", "flv", "mp4"])
def test_a_recording_ends_with_its_bytes_whatever_its_header_says(tmp_path: Path, suffix: str) -> None:
    """Sound that goes on for half a minute makes it a recording of half a minute, of which a second has pictures."""
    data = h264(tmp_path / f"v.{suffix}", 15, sound_s=30).read_bytes()
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        start = int(handler.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        handler.send_response(206 if "Range" in handler.headers else 200)
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:])

    with served(answer) as base, open_source(f"{base}/v.{suffix}", SourceOptions(reconnects=0)) as source:
        times = [frame.time_s for frame in iter(lambda: source.read(PATIENCE), None)]
        assert source.status.state is SourceState.ENDED
        assert (source.status.problem, source.status.reconnects) == ("", 0)
    assert times[-1] == pytest.approx(14 / 15, abs=0.05)


def test_a_page_that_is_no_video_is_lost_with_its_reason(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "text/html", 4000)
        handler.wfile.write(b"<p>no video</p>\n" * 250)

    with served(answer) as base, pytest.raises(MaclipError, match="format is not read as video") as caught:
        open_source(f"{base}/index.html")
    assert caught.value.code == "source-lost"


def test_schemes_are_written_in_any_case(tmp_path: Path) -> None:
    data = color_video(tmp_path / "v.mp4", [("red", 1.0)]).read_bytes()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "video/mp4", len(data))
        handler.wfile.write(data)

    with served(answer) as base, open_source(f"{base.upper().replace('HTTP', 'HtTp')}/v.mp4") as source:
        frame = source.read(PATIENCE)
    assert frame is not None
    assert frame.pixels.mean(axis=(0, 1))[0] > 200


def playlist(*parts: str) -> str:
    entries = "".join(part if part.startswith("#") else f"#EXTINF:1.0,\n{part}\n" for part in parts)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n{entries}#EXT-X-ENDLIST\n"


def part(path: Path, width: int, height: int) -> None:
    """A second of MPEG-TS, whose stamps begin where those of every other part do."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(15):
            pixels = np.full((height, width, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@contextmanager
def folder(path: Path, asked: list[str]) -> Iterator[str]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path[1:]
        asked.append(name)
        data = (path / name).read_bytes()
        head(handler, "application/vnd.apple.mpegurl" if name.endswith("m3u8") else "video/mp2t", len(data))
        handler.wfile.write(data)

    with served(answer) as base:
        yield base


def test_of_a_recording_in_several_qualities_one_is_loaded(tmp_path: Path) -> None:
    sizes = {"large": (1280, 720), "middle": (854, 480), "small": (160, 120)}
    for name, size in sizes.items():
        for number in range(3):
            part(tmp_path / f"{name}{number}.ts", *size)
        (tmp_path / f"{name}.m3u8").write_text(playlist(*(f"{name}{number}.ts" for number in range(3))))
    variants = "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={1000 * w}\n{name}.m3u8\n" for name, (w, _) in sizes.items())
    (tmp_path / "master.m3u8").write_text(f"#EXTM3U\n{variants}")
    asked: list[str] = []
    with folder(tmp_path, asked) as base, open_source(f"{base}/master.m3u8", SourceOptions(reconnects=0)) as source:
        shapes = {frame.pixels.shape for frame in iter(lambda: source.read(PATIENCE), None)}
    assert shapes == {(480, 854, 3)}  # enough, and no more
    # A first part of each is looked at, to learn its size.
    assert {name for name in asked if name.endswith(".ts")} - {"large0.ts", "small0.ts"} == {
        f"middle{number}.ts" for number in range(3)
    }


def test_a_recording_whose_clock_begins_anew_is_read_once_in_its_own_time(tmp_path: Path) -> None:
    for number in range(3):
        part(tmp_path / f"{number}.ts", 64, 48)
    (tmp_path / "list.m3u8").write_text(playlist("0.ts", "#EXT-X-DISCONTINUITY\n", "1.ts", "2.ts"))
    asked: list[str] = []
    with folder(tmp_path, asked) as base, open_source(f"{base}/list.m3u8", SourceOptions(reconnects=0)) as source:
        times = [frame.time_s for frame in iter(lambda: source.read(PATIENCE), None)]
        assert (source.status.state, source.status.reconnects) == (SourceState.ENDED, 0)
    assert asked.count("2.ts") == 1
    assert times[-1] == pytest.approx(44 / 15, abs=0.15)
    assert (np.diff(times) > 0).all()


def test_one_wrong_stamp_neither_holds_up_nor_shifts_a_recording(tmp_path: Path) -> None:
    plain, odd = h264(tmp_path / "plain.mkv", 30), tmp_path / "odd.mkv"
    with av.open(str(plain)) as old, av.open(str(odd), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(old.streams.video[0])):
            if packet.dts is not None and packet.pts is not None:
                packet.pts += round(5 / packet.time_base) if number == 12 else 0
                packet.stream = stream
                new.mux(packet)
    with folder(tmp_path, []) as base, open_source(f"{base}/odd.mkv", SourceOptions(reconnects=0)) as source:
        times = [frame.time_s for frame in iter(lambda: source.read(PATIENCE), None)]
    assert times[-1] == pytest.approx(29 / 15, abs=0.05)
    assert np.diff(times).max() < 0.5
    assert source.status.state is SourceState.ENDED


def test_a_recording_that_was_cut_off_ends_where_its_bytes_do(tmp_path: Path) -> None:
    """Its header speaks of a longer one; asking the server again would bring the same bytes."""
    whole, cut = h264(tmp_path / "whole.mp4", 30, options={"g": "10"}), tmp_path / "cut.mp4"
    with av.open(str(whole)) as old, av.open(str(cut), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 4 // 5])
    with folder(tmp_path, []) as base, open_source(f"{base}/cut.mp4", SourceOptions(reconnects=0)) as source:
        frames = list(iter(lambda: source.read(PATIENCE), None))
        assert (source.status.state, source.status.problem) == (SourceState.ENDED, "")
    assert len(frames) + source.status.dropped < 30
