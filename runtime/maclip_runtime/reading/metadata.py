"""JPEG and PNG bytes without their metadata: what is left when only the metadata is damaged."""

from __future__ import annotations

import struct

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
# Of a JPEG: Adobe's APP14 says how colours are to be understood; APP0 is JFIF.
_KEPT_APPS = {0xE0, 0xEE}
_APPS = range(0xE0, 0xF0)
_COMMENT, _START_OF_SCAN = 0xFE, 0xDA
_KEPT_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def without_metadata(data: bytes) -> bytes | None:
    """The same picture without EXIF, profiles, texts and comments; None where it is neither JPEG nor PNG."""
    if data.startswith(JPEG_START):
        return _bare_jpeg(data)
    return _bare_png(data) if data.startswith(PNG_START) else None


def _bare_jpeg(data: bytes) -> bytes:
    kept, place = [JPEG_START], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _START_OF_SCAN:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if (marker not in _APPS and marker != _COMMENT) or marker in _KEPT_APPS:
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def _bare_png(data: bytes) -> bytes:
    kept, place = [PNG_START], len(PNG_START)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if kind in _KEPT_CHUNKS:
            kept.append(data[place:end])
        place = end
    return b"".join(kept)
