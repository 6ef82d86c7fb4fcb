"""Results as one picture: a row for each, with its time and its frames."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path, PurePath

from maclip_runtime.archive.archive import Found, Search
from maclip_runtime.archive.report import clock
from maclip_runtime.archive.strips import STRIP_HEIGHT
from maclip_runtime.errors import MaclipError
from maclip_runtime.overlay.fonts import fit, font_for

LABEL_WIDTH, MARGIN, GAP = 250, 12, 8  # px
TEXT = 14  # px
INK, DULL = (24, 26, 30), (105, 110, 118)


def write_sheet(search: Search, strips: Mapping[int, bytes], file: Path) -> None:
    """Write the results with their strips (JPEG bytes by rank) as JPEG or PNG, by the suffix.

    Raises `output-unwritable`.
    """
    from PIL import Image, ImageDraw

    pictures = {rank: Image.open(io.BytesIO(data)) for rank, data in strips.items()}
    widest = max((picture.width for picture in pictures.values()), default=STRIP_HEIGHT)
    row_height = STRIP_HEIGHT + GAP
    size = (LABEL_WIDTH + widest + 2 * MARGIN, max(1, len(search.found)) * row_height + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for place, one in enumerate(search.found):
        top = MARGIN // 2 + place * row_height
        for line, (text, colour) in enumerate(_label(one)):
            text = fit(text, TEXT, LABEL_WIDTH - MARGIN)
            draw.text((MARGIN, top + 8 + line * 22), text, fill=colour, font=font_for(text, TEXT))
        if one.rank in pictures:
            sheet.paste(pictures[one.rank], (LABEL_WIDTH, top))
    try:
        sheet.save(file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise MaclipError(
            "output-unwritable", f"The sheet {file} cannot be written ({why}).", "Give another file, .jpg or .png."
        ) from error


def _label(one: Found) -> list[tuple[str, tuple[int, int, int]]]:
    gone = "" if one.video == "there" else f"  ({one.video})"
    return [
        (f"{one.rank}  {PurePath(one.source).name}{gone}", INK),
        (f"{clock(one.start_s)} to {clock(one.end_s)}", INK),
        (f"match {one.match:.2f}, distance {one.distance:.3f}", DULL),
    ]
