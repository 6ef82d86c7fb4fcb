"""A contact sheet: the thumbnails of clips, one below the other, with their numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.rows import EnrolledClip

ROW_HEIGHT = 64  # px
MARGIN = 48  # px, for the clip's number
MAX_WIDTH = 4096  # px, of a thumbnail, which may come from another machine
MAX_ROWS = 500
GAP = 4  # px


def write_sheet(clips: Sequence[EnrolledClip], file: Path) -> None:
    """Write the thumbnails of the newest clips, at most `MAX_ROWS`, as a PNG. Raises `output-unwritable`."""
    from PIL import Image, ImageDraw

    strips = []
    for clip in clips[-MAX_ROWS:]:
        try:
            with Image.open(io.BytesIO(clip.thumbnail), formats=("JPEG",)) as picture:
                width = min(MAX_WIDTH, max(1, round(picture.width * ROW_HEIGHT / max(1, picture.height))))
                strips.append(picture.convert("RGB").resize((width, ROW_HEIGHT)))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            strips.append(Image.new("RGB", (ROW_HEIGHT, ROW_HEIGHT), "grey"))  # an imported gallery may hold anything
    width = MARGIN + max((strip.width for strip in strips), default=ROW_HEIGHT)
    sheet = Image.new("RGB", (width, max(1, len(strips)) * (ROW_HEIGHT + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (clip, strip) in enumerate(zip(clips[-MAX_ROWS:], strips, strict=True)):
        draw.text((4, row * (ROW_HEIGHT + GAP) + ROW_HEIGHT // 2 - 6), str(clip.id), fill="black")
        sheet.paste(strip, (MARGIN, row * (ROW_HEIGHT + GAP)))
    try:
        sheet.save(file, "PNG")
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"The sheet {file} cannot be written ({error.strerror}).", "Give another file."
        ) from error
