"""`maclip-run gallery`: look at and change the enrolled classes."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import print_json, results
from maclip_cli.device_options import GalleryOption, JsonOption, NameArgument, open_gallery

gallery_app = typer.Typer(no_args_is_help=True, help="Look at and change the enrolled classes.")


@gallery_app.command("list")
def list_classes(gallery: GalleryOption, as_json: JsonOption = False) -> None:
    """The enrolled classes."""
    with open_gallery(gallery) as opened:
        classes = opened.classes()
    if as_json:
        for info in classes:
            print_json(dataclasses.asdict(info))
        return
    table = Table("class", "clips", "text", "seconds", "last enrolled")
    for info in classes:
        table.add_row(
            escape(info.name),
            str(info.clips),
            escape(info.text_name or "-"),
            f"{info.duration_s:.1f}",
            info.enrolled_at,
        )
    results().print(table)


@gallery_app.command()
def show(name: NameArgument, gallery: GalleryOption, as_json: JsonOption = False) -> None:
    """The clips of one class."""
    with open_gallery(gallery) as opened:
        clips = opened.clips(name)
    facts = [
        {
            "id": clip.id,
            "class_name": clip.class_name,
            "text_name": clip.text_name,
            "source": clip.source,
            "duration_s": clip.duration_s,
            "enrolled_at": clip.enrolled_at,
            "quality": clip.quality,
        }
        for clip in clips
    ]
    if as_json:
        for fact in facts:
            print_json(fact)
        return
    table = Table("clip", "source", "seconds", "text", "enrolled", "quality", title=escape(name))
    for clip in clips:
        figures = ", ".join(f"{key} {value:.1f}" for key, value in clip.quality.items())
        table.add_row(
            str(clip.id),
            escape(clip.source),
            f"{clip.duration_s:.1f}",
            escape(clip.text_name or "-"),
            clip.enrolled_at,
            figures,
        )
    results().print(table)


@gallery_app.command()
def remove(
    name: NameArgument,
    gallery: GalleryOption,
    clip: Annotated[int | None, typer.Option(help="Only this clip, by its number in `show`.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a class, or one clip of it."""
    with open_gallery(gallery) as opened:
        gone = opened.remove(name, clip)
    if as_json:
        print_json({"name": name, "removed": gone})
    else:
        results().print(escape(f"Removed {gone} {'clip' if gone == 1 else 'clips'} of {name!r}."))


@gallery_app.command()
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD")],
    new: Annotated[str, typer.Argument(metavar="NEW")],
    gallery: GalleryOption,
    as_json: JsonOption = False,
) -> None:
    """Give a class another name; the text it was enrolled with stays."""
    with open_gallery(gallery) as opened:
        opened.rename(old, new)
    if as_json:
        print_json({"old": old, "new": new})
    else:
        results().print(escape(f"{old!r} is now {new!r}."))
