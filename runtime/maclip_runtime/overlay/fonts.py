"""Find a font with the letters of a text, in any script that the system has fonts for."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Tried by name where fontconfig is not installed.
COMMON_FONTS = ("DejaVuSans-Bold.ttf", "NotoSans-Bold.ttf", "Arial Bold.ttf", "arialbd.ttf", "LiberationSans-Bold.ttf")
FC_MATCH_SECONDS = 5.0
MAX_LETTERS = 120  # of a text that is drawn


def printable(text: str) -> str:
    """`text` on one line, without control characters and lone surrogates, at most MAX_LETTERS long.

    >>> printable("two\\nlines\\x00")
    'two lines'
    """
    kept = "".join(" " if letter.isspace() else letter for letter in text[: 4 * MAX_LETTERS])
    kept = "".join(letter for letter in kept if unicodedata.category(letter) not in {"Cc", "Cs"})
    return " ".join(kept.split())[:MAX_LETTERS]


@lru_cache(maxsize=512)
def fit(text: str, px: int, width: int) -> str:
    """`printable(text)`, cut with "…" to at most `width` px at a height of `px` px."""
    text = printable(text)
    if length(text, px) <= width:
        return text
    while text and length(text + "…", px) > width:
        text = text[:-1].rstrip()
    return text + "…" if text else ""


def length(text: str, px: int) -> float:
    """The width of `text` in px at a height of `px` px."""
    return float(font_for(text, px).getlength(text))


def font_for(text: str, px: int) -> Font:
    """A bold sans-serif font of `px` px with the letters of `text`, where the system has one."""
    return _load(_file_for("".join(sorted({letter for letter in text if ord(letter) > 0x17F}))), px)


@lru_cache(maxsize=256)
def _file_for(letters: str) -> str | None:
    """fontconfig's font for letters beyond Latin; None without fontconfig or without a font."""
    command = shutil.which("fc-match")
    if not command:
        return None
    charset = f":charset={' '.join(f'{ord(letter):x}' for letter in letters)}" if letters else ""
    try:
        done = subprocess.run(
            [command, "--format", "%{file}", f"sans:bold{charset}"],
            capture_output=True,
            timeout=FC_MATCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="surrogateescape") or None


@lru_cache(maxsize=64)
def _load(file: str | None, px: int) -> Font:
    from PIL import ImageFont

    for candidate in (file, *COMMON_FONTS):
        if candidate:
            try:
                font = ImageFont.truetype(candidate, px)
                font.getlength("x")  # a bitmap font may lack this size
                return font
            except (OSError, ValueError):
                continue
    return ImageFont.load_default(px)
