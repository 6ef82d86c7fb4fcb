"""Recording takes for an enrolment: count down, record, show the pictures, and ask."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm
from rich.text import Text

from maclip_cli.console import people
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Recognizer
    from maclip_runtime.reading.frames import Pixels
    from maclip_runtime.reading.take import Take
    from maclip_runtime.sources import Roi

STRIP_HEIGHT = 128  # px, of the picture that is written
MAX_COLUMNS = 160  # of a terminal


def record_takes(
    recognizer: Recognizer,
    source: str,
    seconds: float,
    countdown_s: float,
    takes: int,
    keep_all: bool,
    strip: Path | None,
    roi: Roi | None,
    insecure: bool = False,
) -> list[Take]:
    """Record `takes` takes of a source; a take that is refused is recorded again. Nothing is enrolled yet.

    Raises `source-lost`, `clip-unreadable`, `clip-too-short`, `output-unwritable`, and `answer-missing` if nobody can
    be asked.
    """
    from maclip_runtime.sources import SourceOptions, open_source, split_name
    from maclip_runtime.sources.recording import record

    console = people()
    kept: list[Take] = []
    name, address = split_name(source)
    with open_source(address, SourceOptions(roi=roi, name=name, insecure=insecure)) as opened:
        while len(kept) < takes:
            said = _Countdown(console)
            take = record(opened, seconds, recognizer.bundle.manifest.preprocess, countdown_s, said)
            console.print(f"take {len(kept) + 1} of {takes}: {len(take.frames)} frames, {take.duration_s:.1f} s")
            if keep_all or _wanted(console, take, strip):
                kept.append(take)
                if strip is not None:
                    _write_strip(kept, strip)
    return kept


class _Countdown:
    """Prints each whole second once, and when the recording begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: object = None

    def __call__(self, left_s: float, recording: bool) -> None:
        say = "recording" if recording else f"{left_s:.0f} …"
        if say != self._said:
            self._said = say
            self._console.print(say)


def _wanted(console: Console, take: Take, strip: Path | None) -> bool:
    """Show the take and ask."""
    handle, shown = tempfile.mkstemp(prefix="maclip-take-", suffix=".png") if strip is None else (None, str(strip))
    if handle is not None:
        os.close(handle)
    try:
        _write_strip([take], Path(shown))
        console.print(escape(f"see {shown}"), soft_wrap=True)
        if console.is_terminal:
            console.print(coarse(_pictures([take]), min(console.width, MAX_COLUMNS)))
        # Not typer's: that one writes to stdout, which is for results.
        return Confirm.ask("Keep it?", console=console, default=True)
    except EOFError:
        raise MaclipError("answer-missing", "There is nobody to look at the take.", "Give --yes in scripts.") from None
    finally:
        if strip is None:
            with suppress(OSError):
                os.unlink(shown)


def coarse(picture: Pixels, columns: int) -> Text:
    """A picture, uint8 [H, W, 3], as text `columns` wide; half a character is a pixel."""
    from PIL import Image

    rows = max(1, round(picture.shape[0] * columns / picture.shape[1] / 2)) * 2
    small = Image.fromarray(picture).resize((columns, rows))
    text = Text(no_wrap=True)
    for row in range(0, rows, 2):
        for column in range(columns):
            above, below = (small.getpixel((column, row + half)) for half in (0, 1))
            text.append("▀", style=f"rgb({_rgb(above)}) on rgb({_rgb(below)})")
        text.append("\n")
    return text


def _rgb(pixel: object) -> str:
    assert isinstance(pixel, tuple)
    return ",".join(str(int(value)) for value in pixel)


def _pictures(takes: list[Take]) -> Pixels:
    import numpy as np

    from maclip_runtime.reading.quality import strip

    return np.concatenate([strip(take.frames, STRIP_HEIGHT) for take in takes])


def _write_strip(takes: list[Take], file: Path) -> None:
    from PIL import Image

    try:
        Image.fromarray(_pictures(takes)).save(file, "PNG")
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"The strip {file} cannot be written ({error.strerror}).", "Give another --strip."
        ) from error
