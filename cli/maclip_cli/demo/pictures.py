"""Frames of clips as data URIs, so that the report is one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from maclip.world.clips import RATE
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import Indices, Pixels, resize_short, segment_indices

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


def stills(video: Path, times_s: Sequence[float], side: int = 112) -> list[str]:
    """Frames of a generated video at `times_s`, short side `side` px, as data URIs."""

    def choose(total: int) -> Indices:
        return np.clip(np.round(np.asarray(times_s) * RATE).astype(np.int64), 0, total - 1)

    if not times_s:
        return []
    return [jpeg_uri(frame) for frame in read_clip(video, choose, lambda f: resize_short(f, side)).frames]
