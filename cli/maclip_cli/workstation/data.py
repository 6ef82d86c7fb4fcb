"""`maclip data`: check a dataset, and options for datasets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip.config.model import MAX_FRAMES
from maclip_cli.console import print_json
from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import EXIT_USER_INPUT, MaclipError

if TYPE_CHECKING:
    from maclip.data.check import Problem

MAX_NAMES_LISTED = 5

data_app = typer.Typer(no_args_is_help=True, help="Check a dataset before training.")

ListsOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder with split lists (train*.txt, val*.txt, test*.txt) for DATA.")
]
NamesOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="With --lists: JSON or YAML file with class names, FILE or FILE#KEY.")
]
SkipMissingOption = Annotated[bool, typer.Option("--skip-missing", help="With --lists: skip clips that do not exist.")]
DecoderOption = Annotated[
    str, typer.Option(help="pyav, or decord for clips of which it returns the same frames (rarely faster).")
]
FrameCacheOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Cache decoded, resized frames here, for later epochs and runs; may be deleted."),
]
MaxBrokenOption = Annotated[
    float, typer.Option(min=0, max=1, help="Largest share of unreadable clips; they are skipped and reported.")
]
VideosOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the untrimmed videos; default: that of their .json."),
]


@data_app.callback()
def _group() -> None:
    """Check a dataset before training."""


@data_app.command()
def check(
    data: Annotated[
        Path,
        typer.Argument(help="A folder that holds a folder of clips for each class, or the .json of untrimmed videos."),
    ],
    lists: ListsOption = None,
    class_names: NamesOption = None,
    skip_missing: SkipMissingOption = False,
    videos: VideosOption = None,
    frames: Annotated[int, typer.Option(min=1, max=MAX_FRAMES, help="Frames of a clip in training (T).")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON, on stdout.")] = False,
) -> None:
    """Read every clip once; report unreadable clips, lengths and clips per class. Exit code 2 on problems."""
    need_training()
    untrimmed = data.suffix.lower() == ".json"
    for option, given, fits in (("--videos", videos, untrimmed), ("--lists", lists, not untrimmed)):
        if given is not None and not fits:
            kind = "a folder of clips" if option == "--lists" else "a .json of untrimmed videos"
            raise MaclipError("option-invalid", f"{option} goes with {kind}.", f"Leave {option} out.")
    if untrimmed:
        _check_untrimmed(data, videos, frames, as_json)
        return
    from maclip.data.check import check_clips
    from maclip.data.opening import open_data
    from maclip.data.split_lists import SplitLists
    from maclip_cli.progress import Bars

    found = open_data(data, SplitLists(str(lists), class_names, skip_missing) if lists else None)
    with Bars() as bars:
        report = check_clips(found.classes, frames, bars.progress("reading clips"))
    if as_json:
        print_json({**dataclasses.asdict(report), "left_out": found.left_out})
    else:
        table = Table("split", "class", "clips", "unreadable", "frames: min, median, max", "seconds")
        for c in report.classes:
            length = ", ".join(map(str, c.frames))
            table.add_row(
                c.split or "-", escape(c.name), str(c.clips), str(c.unreadable or "-"), length,
                ", ".join(f"{s:.1f}" for s in c.seconds),
            )  # fmt: skip
        console = Console()
        console.print(table)
        _print_problems(console, report.problems)
        for message in found.left_out:
            console.print(escape(message), soft_wrap=True)
        clips = sum(c.clips for c in report.classes)
        console.print(f"{len(report.classes)} classes, {clips} clips are readable, {len(report.problems)} are not.")
    if report.problems:
        raise typer.Exit(EXIT_USER_INPUT)


def _check_untrimmed(annotations: Path, videos: Path | None, frames: int, as_json: bool) -> None:
    from maclip.data.check_untrimmed import check_untrimmed
    from maclip_cli.progress import Bars

    with Bars() as bars:
        report = check_untrimmed(annotations, videos, frames, bars.progress("reading videos"))
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        table = Table("split", "action", "videos", "segments", "seconds: min, median, max")
        for one in report.names:
            seconds = ", ".join(f"{s:.1f}" for s in one.seconds)
            table.add_row(one.split or "-", escape(one.name), str(one.videos), str(one.segments), seconds)
        console = Console()
        console.print(table)
        _print_problems(console, report.problems)
        if report.overlaps:
            console.print(f"Segments of different actions that overlap, which is allowed: {report.overlaps}.")
        if report.several_splits:
            named = ", ".join(map(repr, report.several_splits[:MAX_NAMES_LISTED]))
            more = len(report.several_splits) - MAX_NAMES_LISTED
            console.print(
                escape(
                    f"In more than one split: {named}{f' and {more} more' if more > 0 else ''}. Few-shot figures need "
                    "test actions that are not in training."
                ),
                soft_wrap=True,
            )
        console.print(
            f"Readable videos: {report.videos}, {report.seconds / 60:.1f} minutes in all, "
            f"{report.annotated_seconds / max(report.seconds, 1e-9):.0%} of them annotated. "
            f"Without a segment: {report.without_segments}. Problems: {len(report.problems)}.",
            soft_wrap=True,
        )
    if report.problems:
        raise typer.Exit(EXIT_USER_INPUT)


def _print_problems(console: Console, problems: Sequence[Problem]) -> None:
    for problem in problems:
        console.print(escape(f"{problem.code}: {problem.message}"), soft_wrap=True)
