"""A font that has the letters of a text, in any script the system knows."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Looked for by name where fontconfig is not installed.
USUAL_FILES = ("DejaVuSans-Bold.ttf", "NotoSans-Bold.ttf", "Arial Bold.ttf", "arialbd.ttf", "LiberationSans-Bold.ttf")
ASK_SECONDS = 5.0
LONGEST = 120  # letters of a text that are drawn


def printable(text: str) -> str:
    """`text` on one line: control characters, lone surrogates and what lies beyond the first 120 letters go.

    >>> printable("two\\nlines\\x00")
    'two lines'
    """
    kept = "".join(" " if letter.isspace() else letter for letter in text[: 4 * LONGEST])
    kept = "".join(letter for letter in kept if unicodedata.category(letter) not in {"Cc", "Cs"})
    return " ".join(kept.split())[:LONGEST]


@lru_cache(maxsize=512)
def fit(text: str, px: int, width: int) -> str:
    """`printable(text)`, cut with "…" to at most `width` px, at `px` px high."""
    text = printable(text)
    if length(text, px) <= width:
        return text
    while text and length(text + "…", px) > width:
        text = text[:-1].rstrip()
    return text + "…" if text else ""


def length(text: str, px: int) -> float:
    """How wide `text` is, in px."""
    return float(font_for(text, px).getlength(text))


def font_for(text: str, px: int) -> Font:
    """A bold sans-serif font of `px` px with the letters of `text`, as far as the system has one."""
    return _load(_file_for("".join(sorted({letter for letter in text if ord(letter) > 0x17F}))), px)


@lru_cache(maxsize=256)
def _file_for(letters: str) -> str | None:
    """fontconfig's choice for letters beyond Latin; None for Pillow's own font, or where there is none."""
    asked = shutil.which("fc-match")
    if not asked:
        return None
    charset = f":charset={' '.join(f'{ord(letter):x}' for letter in letters)}" if letters else ""
    try:
        done = subprocess.run(
            [asked, "--format", "%{file}", f"sans:bold{charset}"],
            capture_output=True,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="surrogateescape") or None


@lru_cache(maxsize=64)
def _load(file: str | None, px: int) -> Font:
    from PIL import ImageFont

    for candidate in (file, *USUAL_FILES):
        if candidate:
            try:
                font = ImageFont.truetype(candidate, px)
                font.getlength("x")  # a font of pictures only has some sizes
                return font
            except (OSError, ValueError):
                continue
    return ImageFont.load_default(px)
