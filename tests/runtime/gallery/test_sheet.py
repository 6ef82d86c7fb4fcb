"""Contact sheets: thumbnails may come from anywhere."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, JpegImagePlugin

from maclip_runtime import Gallery
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.sheet import decoded, write_sheet


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height"), [(641, 64), (64, 641), (9000, 9000), (65_000, 1)])
def test_a_thumbnail_of_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> None:
    """A small file may hold pixels by the gigabyte."""
    large = jpeg(width, height)

    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    assert decoded(large) is None


def test_a_sheet_of_odd_thumbnails(enrolled: Path, tmp_path: Path) -> None:
    with Gallery(enrolled) as gallery:
        clip = gallery.clips()[0]
    odd = [b"", b"GIF89a", jpeg(9000, 10), jpeg(1, 640), jpeg(640, 1), jpeg(512, 64)[:-9], jpeg(512, 64)]
    named = [replace(clip, thumbnail=one, class_name="手を振る" * 20, id=10**9) for one in odd]
    write_sheet(named, tmp_path / "sheet.png", with_class=True)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == len(odd) * 68
        assert sheet.width < 2000
    with pytest.raises(MaclipError) as caught:
        write_sheet(named, tmp_path / "absent" / "sheet.png")
    assert caught.value.code == "output-unwritable"
