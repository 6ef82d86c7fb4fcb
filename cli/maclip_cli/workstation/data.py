"""`maclip data`: look at clips before a training does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import EXIT_USER_INPUT

data_app = typer.Typer(no_args_is_help=True, help="Look at clips before a training does.")

ListsOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Public split lists (train*.txt, val*.txt, test*.txt) for DATA.")
]
NamesOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="With --lists: JSON or YAML with the classes' names; FILE#KEY.")
]
SkipMissingOption = Annotated[
    bool, typer.Option("--skip-missing", help="With --lists: leave out clips that are not there.")
]
DecoderOption = Annotated[
    str, typer.Option(help="pyav, or decord for the clips of which it gives the same frames (seldom quicker).")
]
FrameCacheOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep decoded, resized frames here, for later epochs and runs; deleted freely."),
]
MaxBrokenOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of clips that may turn out unreadable; those are skipped and named.")
]


@data_app.callback()
def _group() -> None:
    """Look at clips before a training does."""


@data_app.command()
def check(
    data: Annotated[Path, typer.Argument(help="A folder that holds a folder of clips for each class.")],
    lists: ListsOption = None,
    class_names: NamesOption = None,
    skip_missing: SkipMissingOption = False,
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip that training will want (T).")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Read every clip once: which cannot be read, how long they are, how many a class has. Exit code 2 on problems."""
    need_training()
    from maclip.data.check import check_clips
    from maclip.data.split_lists import SplitLists, open_classes
    from maclip_cli.progress import Bars

    found = open_classes(data, SplitLists(str(lists), class_names, skip_missing) if lists else None)
    with Bars() as bars:
        report = check_clips(found.classes, frames, bars.progress("reading clips"))
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(report), "left_out": found.left_out}, ensure_ascii=False))
    else:
        table = Table("split", "class", "clips", "unreadable", "frames: least, median, most", "seconds")
        for c in report.classes:
            length = ", ".join(map(str, c.frames))
            table.add_row(
                c.split or "-", escape(c.name), str(c.clips), str(c.unreadable or "-"), length,
                ", ".join(f"{s:.1f}" for s in c.seconds),
            )  # fmt: skip
        console = Console()
        console.print(table)
        for problem in report.problems:
            console.print(escape(f"{problem.code}: {problem.message}"), soft_wrap=True)
        for said in found.left_out:
            console.print(escape(said), soft_wrap=True)
        clips = sum(c.clips for c in report.classes)
        console.print(f"{len(report.classes)} classes, {clips} clips can be read, {len(report.problems)} cannot.")
    if report.problems:
        raise typer.Exit(EXIT_USER_INPUT)
