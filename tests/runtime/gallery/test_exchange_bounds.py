"""How much an import reads, and an export writes."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from maclip_runtime import Gallery
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import exchange
from maclip_runtime.gallery.exchange import export_gallery, import_gallery
from maclip_runtime.gallery.exported import MAX_DIRECTORY_BYTES


def test_a_directory_of_millions_of_members_is_not_read(tmp_path: Path) -> None:
    """Python would make an object of each before anything could be asked of them."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * (MAX_DIRECTORY_BYTES // len(entry) + 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(directory), 0, 0)
    (tmp_path / "many.zip").write_bytes(directory + end)
    tracemalloc.start()
    try:
        with Gallery(tmp_path / "new.db") as gallery, pytest.raises(MaclipError, match="more members") as caught:
            import_gallery(gallery, tmp_path / "many.zip")
        assert caught.value.code == "import-corrupt"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_export_of_more_clips_than_an_import_takes_is_refused(
    enrolled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_CLIPS", 3)
    with Gallery(enrolled) as gallery, pytest.raises(MaclipError, match="4 clips, and a file holds 3") as caught:
        export_gallery(gallery, tmp_path / "out.zip")
    assert caught.value.code == "output-unwritable"
    assert not (tmp_path / "out.zip").exists()
