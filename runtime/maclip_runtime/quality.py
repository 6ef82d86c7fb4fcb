"""What an enrolled clip looks like in figures, and a small picture of it for people."""

from __future__ import annotations

import io

import numpy as np

from maclip_runtime.frames import Pixels

THUMBNAIL_SIZE = 96  # px
THUMBNAIL_QUALITY = 80  # JPEG


def figures(frames: Pixels) -> dict[str, float]:
    """Brightness, sharpness and motion of uint8 [T, H, W, 3].

    `brightness` is the mean grey level, 0..255; `sharpness` the mean difference between neighbouring pixels
    and `motion` that between neighbouring frames, in grey levels.
    """
    grey = frames.astype(np.float32).mean(axis=-1)  # (T, H, W)
    across, down = np.abs(np.diff(grey, axis=2)).mean(), np.abs(np.diff(grey, axis=1)).mean()
    motion = np.abs(np.diff(grey, axis=0)).mean() if len(grey) > 1 else 0.0
    values = {"brightness": grey.mean(), "sharpness": (across + down) / 2, "motion": motion}
    return {name: round(float(value), 3) for name, value in values.items()}


def thumbnail(frames: Pixels) -> bytes:
    """The middle one of uint8 [T, H, W, 3] as a small JPEG."""
    from PIL import Image

    image = Image.fromarray(frames[len(frames) // 2])
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()
