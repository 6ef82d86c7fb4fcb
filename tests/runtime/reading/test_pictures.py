"""Pictures of every kind that Pillow opens look as a viewer shows them; damaged metadata costs no pixels."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import PICTURE_SUFFIXES, VIDEO_FORMATS, VIDEO_SUFFIXES, is_picture, is_video
from maclip_runtime.reading.pictures import list_pictures, read_picture

RED, BLUE = (230, 30, 30), (30, 30, 230)
GREY = (90, 53)  # of the two


def drawn() -> Image.Image:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30], pixels[:, 30:] = RED, BLUE
    return Image.fromarray(pixels)


def in_mode(mode: str) -> Image.Image:
    image = drawn()
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        made = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
        assert made is not None
        return made
    grey = np.asarray(image.convert("L"))
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255)
    return image.convert(mode)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *((suffix, mode) for suffix in ("png", "tiff") for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")),
        *(("tiff", mode) for mode in ("CMYK", "YCbCr", "LAB", "I", "F")),
        *(("jpg", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")),
        *(("bmp", mode) for mode in ("L", "P", "RGB", "RGBA")),
        *(("webp", mode) for mode in ("RGB", "RGBA")),
        *(("ppm", mode) for mode in ("L", "RGB", "I")),
    ],
)
def test_a_picture_of_any_mode_has_its_colours(tmp_path: Path, suffix: str, mode: str) -> None:
    in_mode(mode).save(tmp_path / f"0.{suffix}")
    pixels = read_picture(tmp_path / f"0.{suffix}")
    assert pixels.shape == (40, 60, 3)
    assert pixels.dtype == np.uint8
    left, right = pixels[5, 5].astype(int), pixels[5, -5].astype(int)
    if mode == "1":
        return
    if mode in ("L", "LA", "I;16", "I", "F"):
        assert np.abs(left - GREY[0]).max() < 4
        assert np.abs(right - GREY[1]).max() < 4
    else:
        near = 32 if mode == "P" else 6
        assert np.abs(left - RED).max() < near
        assert np.abs(right - BLUE).max() < near


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_what_is_transparent_shows_white_and_not_what_lies_hidden(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (20, 10), (200, 0, 0, 255))
    image.paste((0, 90, 0, 0), (10, 0, 20, 10))
    if mode == "P":
        image.convert("P").save(tmp_path / "0.png", transparency=image.convert("P").getpixel((15, 5)))
    else:
        image.convert(mode).save(tmp_path / ("0.tiff" if mode == "PA" else "0.png"))
    pixels = read_picture(next(tmp_path.iterdir()))
    assert (pixels[:, 12:] == 255).all()
    assert pixels[5, 3].max() < 230


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_by_its_exif(tmp_path: Path, suffix: str, orientation: int) -> None:
    corner = np.zeros((40, 60, 3), np.uint8)
    corner[:20, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"0.{suffix}"
    Image.fromarray(corner).save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_picture(path), upright)


def tagged(*entries: tuple[int, int, int, bytes], extra: bytes = b"") -> bytes:
    """A JPEG of 100 x 60 px that is to be turned by a quarter, with these EXIF entries beside it."""
    buffer = io.BytesIO()
    Image.new("RGB", (100, 60), RED).save(buffer, "JPEG")
    every = [(0x0112, 3, 1, struct.pack("<HH", 6, 0)), *entries]
    table = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in every)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(every)) + table + bytes(4) + extra
    data = buffer.getvalue()
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


@pytest.mark.parametrize(
    "data",
    [
        tagged((0x011A, 10, 1, struct.pack("<I", 38)), extra=struct.pack("<ii", -1, 0)),
        tagged((0x0100, 9, 1, struct.pack("<i", -5))),
        tagged((0x011A, 12, 1, struct.pack("<I", 38)), extra=struct.pack("<d", float("nan"))),
        tagged((0x0128, 7, 4, b"\xff\xff\xff\xff")),
    ],
    ids=["divided by zero", "negative width", "not a number", "bytes for a number"],
)
def test_odd_metadata_costs_neither_pixels_nor_rotation(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "0.jpg").write_bytes(data)
    assert read_picture(tmp_path / "0.jpg").shape == (100, 60, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_garbage_for_metadata_costs_no_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"0.{suffix}"
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A] = "maker" * 9, 1, 72.0
    drawn().save(path, exif=exif)
    whole, expected = path.read_bytes(), read_picture(path)
    start = whole.index(b"MM\0*" if b"MM\0*" in whole else b"II*\0")
    for seed in range(150):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for place in rng.integers(start, start + 80, size=6):
            data[place] = int(rng.integers(0, 256))
        path.write_bytes(data)
        assert sorted(read_picture(path).shape) == sorted(expected.shape), seed


def test_metadata_that_pillow_refuses_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in that stumbles over metadata reads the same picture without it."""
    real = Image.open

    def stumbling(file: io.BytesIO, **options: object) -> Image.Image:
        if b"Exif" in file.getvalue() or b"eXIf" in file.getvalue():
            raise AttributeError("'NoneType' object has no attribute 'get'")
        return real(file, **options)  # type: ignore[arg-type]

    exif = Image.Exif()
    exif[0x010F] = "maker"
    monkeypatch.setattr(Image, "open", stumbling)
    for suffix in ("jpg", "png"):
        drawn().save(tmp_path / f"0.{suffix}", exif=exif)
        assert read_picture(tmp_path / f"0.{suffix}").shape == (40, 60, 3)
    drawn().save(tmp_path / "0.webp", exif=exif)
    (tmp_path / "0.webp").write_bytes((tmp_path / "0.webp").read_bytes() + b"Exif")
    with pytest.raises(MaclipError) as caught:
        read_picture(tmp_path / "0.webp")
    assert caught.value.code == "clip-unreadable"


def test_folders_list_every_kind_of_picture_and_no_hidden_file(tmp_path: Path) -> None:
    for name in ("10.BMP", "2.tif", "1.webp", "._1.webp", ".hidden.jpg", "notes.txt", "clip.mp4"):
        (tmp_path / name).write_bytes(b"x")
    assert [file.name for file in list_pictures(tmp_path)] == ["1.webp", "2.tif", "10.BMP"]


def test_the_lists_have_no_overlap_and_name_what_ffmpeg_has() -> None:
    from av.format import formats_available

    assert not PICTURE_SUFFIXES & VIDEO_SUFFIXES
    assert {name for found in formats_available for name in found.split(",")} >= set(VIDEO_FORMATS)
    for name in ("a.3gp", "a.MTS", "a.mxf", "a.mjpeg", "a.flv"):
        assert is_video(name), name
    assert not any(is_picture(name) or is_video(name) for name in ("._a.mp4", "._a.jpg", "a.txt", "mp4"))
