"""What a benchmark leaves: tables on the console, and a JSON file that is whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_runtime.errors import MaclipError

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
LOG_WIDTH = 120  # where the output is no terminal: rich would cut tables to 80 columns


def require_outputs(json_file: Path | None = None, figure: Path | None = None) -> None:
    """Raise before minutes of measuring what writing would raise after them.

    Raises `output-unwritable` for a place that cannot be, `option-invalid` for a figure of no known kind.
    """
    if figure is not None and figure.suffix not in FIGURE_SUFFIXES:
        endings = ", ".join(FIGURE_SUFFIXES)
        raise MaclipError("option-invalid", f"{figure} is not a figure's name.", f"End the name in {endings}.")
    for path in (json_file, figure):
        if path is None:
            continue
        if not path.resolve().parent.is_dir():
            raise MaclipError(
                "output-unwritable", f"There is no folder {path.parent}.", "Make it, or name another file."
            )
        if path.is_dir():
            raise MaclipError("output-unwritable", f"{path} is a folder.", "Name a file to write.")


def write_json(path: Path, facts: Any) -> None:
    """Write `facts` as JSON; `path` is whole or as it was. Raises `output-unwritable`."""
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, an `OSError` becomes `output-unwritable` of `path`."""
    try:
        yield
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"{path} cannot be written ({error.strerror}).", "Name a file that can be written."
        ) from error


def results_console() -> Console:
    """A console for tables on stdout; into a file or a pipe, tables are not cut to a terminal's default width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=LOG_WIDTH, highlight=False)


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> Table:
    """A table with the first `text_columns` columns (1 by default) left-aligned and the others, figures, to the right.

    Cells are plain text: brackets in them are no markup.
    """
    made = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        text = place < text_columns
        made.add_column(heading, justify="left" if text else "right", no_wrap=not text)
    for row in rows:
        made.add_row(*map(escape, row))
    return made
