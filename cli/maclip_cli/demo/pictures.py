"""Pictures and videos as data URIs, so that the report is one file."""

from __future__ import annotations

import base64
import io
from functools import partial
from pathlib import Path

from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import Pixels, resize_short, segment_indices

JPEG_QUALITY = 84


def jpeg_uri(pixels: Pixels) -> str:
    """uint8 [H, W, 3] -> a data URI with a JPEG image."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def film_strip(clip: Path, frames: int = 8, side: int = 112) -> list[str]:
    """`frames` evenly spaced frames of a clip, short side `side` px, as data URIs."""
    read = read_clip(clip, partial(segment_indices, frames=frames), lambda frame: resize_short(frame, side))
    return [jpeg_uri(frame) for frame in read.frames]


def video_uri(video: Path) -> str:
    """An mp4 file as a data URI."""
    return "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()
