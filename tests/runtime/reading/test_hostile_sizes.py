"""Pictures that claim to be huge, or are a pixel high: refused or read, and memory stays bounded."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from videos import color_frames, write_video

from maclip_runtime import MaclipError, open_source, read_clip
from maclip_runtime.reading import video
from maclip_runtime.reading.frames import Preprocess, prepare, segment_indices
from maclip_runtime.reading.pictures import read_picture
from maclip_runtime.tools.measuring.memory import peak_resident_mib

SMALL = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MEMORY_MIB = 150.0  # what a hostile file may make us grow by


def write_gif(path: Path, width: int, height: int, pictures: int = 4) -> Path:
    """Some 150 bytes that claim a canvas of any size; each picture on it is one pixel."""
    header = b"GIF89a" + struct.pack("<HH", width, height) + b"\xf0\0\0" + b"\0\0\0\xff\xff\xff"
    picture = b"\x21\xf9\x04\0\x0a\0\0\0\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    path.write_bytes(header + picture * pictures + b"\x3b")
    return path


def write_png(path: Path, width: int, height: int) -> Path:
    """A black picture of one bit a pixel: 31 KB for 16,000 x 16,000."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def read(path: Path) -> np.ndarray:
    return read_clip(path, partial(segment_indices, frames=2), partial(prepare, preprocess=SMALL)).frames


@pytest.mark.parametrize("size", [(16_000, 16_000), (20_000, 20_000), (65_535, 65_535)])
def test_huge_video_is_refused_before_memory_is_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    path, before = write_gif(tmp_path / "bomb.gif", *size), peak_resident_mib()
    for reading in (lambda: read(path), lambda: list(open_source(path))):
        with pytest.raises(MaclipError) as caught:
            reading()
        assert caught.value.code in {"video-too-large", "clip-unreadable"}
    after = peak_resident_mib()
    assert before is None or after is None or after - before < MEMORY_MIB


def test_large_video_is_said_to_be_too_large(tmp_path: Path) -> None:
    with pytest.raises(MaclipError, match="16000 x 16000") as caught:
        read(write_gif(tmp_path / "bomb.gif", 16_000, 16_000))
    assert caught.value.code == "video-too-large"


@pytest.mark.parametrize("size", [(1, 1), (16_000, 16), (16, 16_000), (60_000, 1), (1, 60_000)])
def test_tiny_video_and_strips_are_read_in_bounded_memory(tmp_path: Path, size: tuple[int, int]) -> None:
    path, before = write_gif(tmp_path / "strip.gif", *size), peak_resident_mib()
    assert read(path).shape == (2, 32, 32, 3)
    with open_source(path) as source:
        assert [frame.pixels.shape for frame in source] == [(size[1], size[0], 3)] * 4
    after = peak_resident_mib()
    assert before is None or after is None or after - before < MEMORY_MIB


def test_of_a_strip_the_middle_is_seen() -> None:
    strip = np.zeros((4, 1000, 3), np.uint8)
    strip[:, 400:600] = 200
    assert (prepare(strip, SMALL) == 200).all()


def test_pictures_that_outgrow_their_container_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera's stream may change its size; what grows beyond the limit never reaches memory."""
    small = write_video(tmp_path / "small.ts", color_frames("red", 10).repeat(8, 1).repeat(8, 2))
    large = write_video(tmp_path / "large.ts", color_frames("green", 5).repeat(32, 1).repeat(32, 2))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with open_source(both) as source:
        assert {frame.pixels.shape for frame in source} >= {(384, 512, 3), (1536, 2048, 3)}
    monkeypatch.setattr(video, "MAX_PIXELS", 3 * 384 * 512)
    with open_source(both) as source:
        shapes = {frame.pixels.shape for frame in source}
    assert shapes == {(384, 512, 3)}


def test_picture_bombs_in_a_folder_are_refused(tmp_path: Path) -> None:
    before = peak_resident_mib()
    with pytest.raises(MaclipError) as caught:
        read_picture(write_png(tmp_path / "bomb.png", 8_000, 8_000))
    assert caught.value.code == "video-too-large"
    after = peak_resident_mib()
    assert before is None or after is None or after - before < MEMORY_MIB


def test_mutated_pictures_are_read_or_refused(tmp_path: Path) -> None:
    """200 of them, JPEG and PNG: a picture of the right kind, or an error in plain words."""
    from PIL import Image

    picture = Image.fromarray(color_frames("blue", 1)[0])
    outcomes, codes = {"read": 0, "refused": 0}, set[str]()
    for kind in ("jpg", "png"):
        whole, broken = tmp_path / f"whole.{kind}", tmp_path / f"broken.{kind}"
        picture.save(whole, exif=picture.getexif().tobytes() or b"Exif\0\0MM\0*\0\0\0\x08\0\0")
        for seed in range(100):
            rng = np.random.default_rng(seed)
            data = bytearray(whole.read_bytes())
            for place in rng.integers(0, len(data), size=int(rng.integers(1, 12))):
                data[place] = int(rng.integers(0, 256))
            broken.write_bytes(data[: len(data) if seed % 3 else int(rng.integers(0, len(data)))])
            try:
                pixels = read_picture(broken)
                assert pixels.dtype == np.uint8
                assert pixels.shape[2] == 3
                outcomes["read"] += 1
            except MaclipError as error:
                codes.add(error.code)
                outcomes["refused"] += 1
    assert codes <= {"clip-unreadable", "video-too-large"}
    assert min(outcomes.values()) > 10, outcomes


def test_odd_pixel_formats_become_rgb(tmp_path: Path) -> None:
    """Grey, 10 bits and full chroma, from encoders that every FFmpeg has."""
    for number, form in enumerate(("gray", "yuv422p10le", "yuv444p", "bgra", "gray16le")):
        path = tmp_path / f"{number}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, form
            for frame in color_frames("green", 6):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        frames = read(path)
        grey = form.startswith("gray")
        assert frames[..., 1].mean() > 90, form
        assert grey or frames[..., 1].mean() > frames[..., 0].mean() + 100, form
