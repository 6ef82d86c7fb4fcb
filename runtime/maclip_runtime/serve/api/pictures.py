"""Frames and strips as JPEG answers."""

from __future__ import annotations

import io
from collections.abc import Sequence

from fastapi import Response

from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence.shots import Still
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.quality import strip

STRIP_HEIGHT = 96  # px
QUALITY = 82
FOREVER = {"cache-control": "private, max-age=604800, immutable"}  # what has a number never changes


def jpeg(data: bytes) -> Response:
    """A JPEG that a browser may keep."""
    return Response(data, media_type="image/jpeg", headers=FOREVER)


def frame_of(stills: Sequence[Still], number: int) -> Response:
    """One of several frames. Raises `no-such-thing`."""
    if number >= len(stills):
        raise MaclipError("no-such-thing", f"There are {len(stills)} frames.", "Ask for a smaller number.")
    return jpeg(stills[number].jpeg)


def strip_of(frames: Pixels) -> Response:
    """uint8 [T, H, W, 3] side by side."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(strip(frames, STRIP_HEIGHT)).save(buffer, "JPEG", quality=QUALITY)
    return jpeg(buffer.getvalue())
