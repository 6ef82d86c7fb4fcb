"""A folder of numbered pictures as a clip, in natural order."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.video import MAX_PIXELS, too_large, unreadable

PICTURES = {".jpg", ".jpeg", ".png"}
# Extracted frames have no times. Datasets such as SSv2-Small keep 8 per clip, which then lasts 1 s.
FOLDER_RATE = 8.0  # frames per second


def list_pictures(folder: Path) -> list[Path]:
    """The folder's JPEG and PNG files in natural order (2 before 10). Raises `clip-unreadable` where it has none."""
    try:
        files = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in PICTURES and not file.name.startswith(".") and file.is_file()
        ]
    except OSError as error:
        raise unreadable(folder, f"cannot be listed ({error.strerror})") from error
    if not files:
        raise unreadable(folder, "has no JPEG or PNG frames")
    return sorted(files, key=lambda file: natural_key(file.name))


def natural_key(name: str) -> list[tuple[int, str]]:
    """A sort key that compares numbers inside names by value.

    >>> sorted(["f10.jpg", "f2.jpg"], key=natural_key)
    ['f2.jpg', 'f10.jpg']
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name.lower())]


def read_picture(file: Path) -> Pixels:
    """Read one picture, rotated by its EXIF: uint8 [H, W, 3] RGB. Raises `clip-unreadable` and `video-too-large`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:  # nothing is decoded yet
                raise too_large(file, image.width, image.height)
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except MaclipError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(file, "is not a readable picture") from error
