"""A contact sheet: the thumbnails of clips, one below the other, with their numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.rows import EnrolledClip

if TYPE_CHECKING:
    from PIL.Image import Image

ROW_HEIGHT = 64  # px
MARGIN = 48  # px, for the clip's number
CLASS_WIDTH = 160  # px, for its class
MAX_LABEL = 22  # characters of a class's name
MAX_SIDE = 640  # px, of a thumbnail, which may come from another machine; ours are at most 512 x 64
MAX_WIDTH = 1024  # px, of a row
MAX_ROWS = 500
GAP = 4  # px


def write_sheet(clips: Sequence[EnrolledClip], file: Path, *, with_class: bool = False) -> None:
    """Write the thumbnails of the last clips, at most `MAX_ROWS`, as a PNG; `with_class` names each clip's class too.

    Raises `output-unwritable`.
    """
    from PIL import Image, ImageDraw

    strips = []
    for clip in clips[-MAX_ROWS:]:
        picture = decoded(clip.thumbnail)
        if picture is None:  # an imported gallery may hold anything
            picture = Image.new("RGB", (ROW_HEIGHT, ROW_HEIGHT), "grey")
        width = min(MAX_WIDTH, max(1, round(picture.width * ROW_HEIGHT / picture.height)))
        strips.append(picture.resize((width, ROW_HEIGHT)))
    margin = MARGIN + CLASS_WIDTH * with_class
    width = margin + max((strip.width for strip in strips), default=ROW_HEIGHT)
    sheet = Image.new("RGB", (width, max(1, len(strips)) * (ROW_HEIGHT + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (clip, strip) in enumerate(zip(clips[-MAX_ROWS:], strips, strict=True)):
        label = f"{clip.id} {clip.class_name[:MAX_LABEL]}" if with_class else str(clip.id)
        # Pillow's own font has no other letters.
        label = label.encode("ascii", "replace").decode()
        draw.text((4, row * (ROW_HEIGHT + GAP) + ROW_HEIGHT // 2 - 6), label, fill="black")
        sheet.paste(strip, (margin, row * (ROW_HEIGHT + GAP)))
    try:
        sheet.save(file, "PNG")
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"The sheet {file} cannot be written ({error.strerror}).", "Give another file."
        ) from error


def decoded(thumbnail: bytes) -> Image | None:
    """A thumbnail as a picture; None where it is no JPEG of at most `MAX_SIDE` px a side, which then is not decoded."""
    from PIL import Image as pil

    try:
        with pil.open(io.BytesIO(thumbnail), formats=("JPEG",)) as picture:
            if not 0 < min(picture.size) <= max(picture.size) <= MAX_SIDE:
                return None
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError):
        return None
