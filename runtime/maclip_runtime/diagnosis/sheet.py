"""The findings as one picture: a row for each, with the clips that it is about side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from maclip_runtime.diagnosis.report import Finding
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import NEGATIVE, EnrolledClip, Gallery
from maclip_runtime.gallery.sheet import decoded
from maclip_runtime.overlay.fonts import MAX_LETTERS, fit, font_for, length

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_ROWS = 100
MAX_SIDE = 2  # clips of a finding
STRIP_HEIGHT, MAX_STRIP_WIDTH, MIN_WIDTH = 72, 640, 900  # px
MARGIN, GAP = 14, 16  # px
TITLE, TEXT, CAPTION = 17, 14, 13  # px
LEADING = 1.35  # line height over the letters' height
INK, DULL, LINE, ACCENT = (24, 26, 30), (105, 110, 118), (214, 217, 222), (178, 60, 20)


def write_findings(findings: Sequence[Finding], gallery: Gallery, file: Path) -> None:
    """Write the first `MAX_ROWS` findings as a PNG. Raises `output-unwritable`."""
    from PIL import Image, ImageDraw

    shown = findings[:MAX_ROWS]
    wanted = [one for finding in shown for one in finding.clips[:MAX_SIDE]]
    clips = {clip.id: clip for clip in (*gallery.clips(ids=wanted), *gallery.negatives()) if clip.id in set(wanted)}
    strips = {one: _strip(clip) for one, clip in clips.items()}
    column = max((strip.width for strip in strips.values()), default=MIN_WIDTH // MAX_SIDE)
    width = max(MIN_WIDTH, MAX_SIDE * column + GAP + 2 * MARGIN)
    rows = [
        _row(number, finding, [clips[one] for one in finding.clips[:MAX_SIDE] if one in clips], strips, column, width)
        for number, finding in enumerate(shown, 1)
    ]
    sheet = Image.new("RGB", (width, max(1, sum(row.height for row in rows))), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
        draw.line((0, top - 1, width, top - 1), fill=LINE)
    try:
        sheet.save(file, "PNG")
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"The sheet {file} cannot be written ({error.strerror}).", "Give another file."
        ) from error


def _row(
    number: int,
    finding: Finding,
    clips: Sequence[EnrolledClip],
    strips: dict[int, Image],
    column: int,
    width: int,
) -> Image:
    from PIL import Image, ImageDraw

    room = width - 2 * MARGIN
    lines = [(f"{number}  {finding.kind}", TITLE, ACCENT)]
    lines += [(line, TEXT, INK) for line in _wrapped(finding.message, TEXT, room)]
    lines += [(line, TEXT, DULL) for line in _wrapped(f"Fix: {finding.fix}", TEXT, room)]
    text_height = sum(round(px * LEADING) for _, px, _ in lines)
    strip_height = round(CAPTION * LEADING) + STRIP_HEIGHT + GAP // 2 if clips else 0
    row = Image.new("RGB", (width, MARGIN + text_height + strip_height + MARGIN), "white")
    draw, top = ImageDraw.Draw(row), MARGIN
    for text, px, colour in lines:
        draw.text((MARGIN, top), text, fill=colour, font=font_for(text, px))
        top += round(px * LEADING)
    top += GAP // 2
    for place, clip in enumerate(clips):
        left = MARGIN + place * (column + GAP)
        caption = fit(_caption(clip), CAPTION, column)
        draw.text((left, top), caption, fill=INK, font=font_for(caption, CAPTION))
        row.paste(strips[clip.id], (left, top + round(CAPTION * LEADING)))
    return row


def _caption(clip: EnrolledClip) -> str:
    whose = "negative" if clip.class_name == NEGATIVE else clip.class_name
    return f"{clip.id}  {whose}  ({PurePath(clip.source).name or clip.source})"


def _strip(clip: EnrolledClip) -> Image:
    from PIL import Image

    picture = decoded(clip.thumbnail)
    if picture is None:  # an imported gallery may hold anything
        return Image.new("RGB", (STRIP_HEIGHT, STRIP_HEIGHT), "grey")
    width = min(MAX_STRIP_WIDTH, max(1, round(picture.width * STRIP_HEIGHT / picture.height)))
    return picture.resize((width, STRIP_HEIGHT))


def _wrapped(text: str, px: int, width: int) -> Iterator[str]:
    """The lines of a text, each at most `width` px wide."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and (len(longer) > MAX_LETTERS or length(longer, px) > width):
            yield line
            longer = fit(word, px, width)
        line = longer
    if line:
        yield fit(line, px, width)
