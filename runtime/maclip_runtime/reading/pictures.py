"""Pictures: the one reader of picture files, and a folder of numbered pictures as a clip, in natural order."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import PICTURE_FORMATS, PICTURE_NAMES, is_picture
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.metadata import without_metadata
from maclip_runtime.reading.video import MAX_PIXELS, too_large, unreadable

if TYPE_CHECKING:
    from PIL import Image

# Extracted frames have no times. Datasets such as SSv2-Small keep 8 per clip, which then lasts 1 s.
FOLDER_RATE = 8.0  # frames per second
BACKGROUND = (255, 255, 255)  # what shows through transparent pixels, as in a browser
ORIENTATION = 0x0112  # the EXIF tag
MAX_FILE_BYTES = 256 * 1024 * 1024  # an uncompressed picture of MAX_PIXELS in 16 bits has 240 MB


def list_pictures(folder: Path) -> list[Path]:
    """The folder's pictures in natural order (2 before 10). Raises `clip-unreadable` where it has none."""
    try:
        files = [file for file in folder.iterdir() if is_picture(file) and file.is_file()]
    except OSError as error:
        raise unreadable(folder, f"cannot be listed ({error.strerror})") from error
    if not files:
        raise unreadable(folder, f"has no frames ({PICTURE_NAMES})")
    return sorted(files, key=lambda file: natural_key(file.name))


def natural_key(name: str) -> list[tuple[int, str]]:
    """A sort key that compares numbers inside names by value.

    >>> sorted(["f10.jpg", "f2.jpg"], key=natural_key)
    ['f2.jpg', 'f10.jpg']
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name.lower())]


def read_picture(file: Path) -> Pixels:
    """Read one picture as a viewer shows it: uint8 [H, W, 3] RGB.

    It is rotated by its EXIF; 16 bits are scaled to 8; white shows through transparent pixels. Damaged metadata is
    ignored. Raises `clip-unreadable` and `video-too-large`.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise unreadable(file, f"cannot be read ({error.strerror or type(error).__name__})") from error
    if len(data) > MAX_FILE_BYTES:
        raise unreadable(file, f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
    return decode_picture(data, file)


def decode_picture(data: bytes, name: object) -> Pixels:
    """The picture in the bytes of a file, as `read_picture` gives it; errors call it `name`."""
    try:
        return _decode(name, data)
    except MaclipError:
        raise
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged byte leads them to
        bare = without_metadata(data)
        if bare is None:
            raise unreadable(name, "is not a readable picture") from error
    try:
        return _decode(name, bare)
    except MaclipError:
        raise
    except Exception as error:
        raise unreadable(name, "is not a readable picture") from error


def _decode(name: object, data: bytes) -> Pixels:
    from PIL import Image

    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
    except Image.DecompressionBombError as error:
        raise unreadable(name, f"has more than {MAX_PIXELS / 1e6:.0f} million pixels") from error
    with image:
        if image.width * image.height > MAX_PIXELS:  # nothing is decoded yet
            raise too_large(name, image.width, image.height)
        image.load()
        return np.ascontiguousarray(np.asarray(_rgb(_turned(image))))


def _turned(image: Image.Image) -> Image.Image:
    """The picture as its EXIF says; as it is where that cannot be read."""
    from PIL import Image

    turns: dict[object, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(ORIENTATION))
    except Exception:  # see `read_picture`
        return image
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode that Pillow opens, as RGB."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        below = Image.new("RGBA", seen.size, (*BACKGROUND, 255))
        return Image.alpha_composite(below, seen).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray[Any, Any]) -> Pixels:
    """Grey values of more than 8 bits: whole numbers count to 65535, or to 2^32 where they exceed that.

    Fractions count to 1, or as whole numbers where they exceed that: to 255, else to 65535. NaN is black.
    """
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if values.dtype == np.int32 and grey.min(initial=0.0) < 0:  # Pillow reads unsigned 32 bits as signed
        grey = np.where(grey < 0, grey + 2.0**32, grey)
    top = float(grey.max(initial=0.0))
    steps = (65535.0, 2.0**32 - 1) if values.dtype.kind in "iu" else (1.0, 255.0, 65535.0)
    full = next((step for step in steps if top <= step), top)
    return np.clip(np.round(grey * (255.0 / full)), 0, 255).astype(np.uint8)


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert made is not None
    return made
