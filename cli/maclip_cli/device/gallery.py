"""`maclip-run gallery`: list, show, check, change, export, import and share the enrolled classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import changes, people, print_json, results
from maclip_cli.device.gallery_doctor import doctor
from maclip_cli.device.options import GalleryOption, JsonOption, open_gallery
from maclip_cli.device.sharing import follow, key, publish
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import ClassInfo

OptionalName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A class of the gallery.")]
NegativesOption = Annotated[
    bool, typer.Option("--negatives", help="The negatives (clips that show none of the classes) instead of a class.")
]

MAX_SOURCE_LENGTH = 24  # characters in a table

gallery_app = typer.Typer(
    no_args_is_help=True, help="List, show, check, change, export, import and share the enrolled classes."
)
gallery_app.command()(doctor)
gallery_app.command()(key)
gallery_app.command()(publish)
gallery_app.command()(follow)


@gallery_app.command("list")
def list_classes(gallery: GalleryOption, as_json: JsonOption = False) -> None:
    """List the enrolled classes."""
    with open_gallery(gallery) as opened:
        classes = opened.classes()
        negatives = len(opened.negatives())
    if as_json:
        for info in classes:
            print_json(dataclasses.asdict(info))
        return
    table = Table("class", "clips", "text", "seconds", "last enrolled", "limit")
    for info in classes:
        table.add_row(
            escape(info.name),
            str(info.clips),
            escape(info.text_name or "-"),
            f"{info.duration_s:.1f}",
            info.enrolled_at,
            _limit(info),
        )
    results().print(table)
    if negatives:
        results().print(f"{negatives} negatives; `maclip-run gallery show --negatives` lists them.", soft_wrap=True)


@gallery_app.command()
def show(
    gallery: GalleryOption,
    name: OptionalName = None,
    negatives: NegativesOption = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the clips' thumbnails to this PNG, one row per clip.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the clips of one class, of all classes, or the negatives."""
    if name is not None and negatives:
        raise MaclipError("option-invalid", "A class and --negatives were given.", "Give one of them, or neither.")
    with open_gallery(gallery) as opened:
        clips = opened.negatives() if negatives else opened.clips(name)
        several = name is None and not negatives
        if several:  # class by class, in the order of `list`
            order = {info.name: place for place, info in enumerate(opened.classes())}
            clips.sort(key=lambda clip: (order.get(clip.class_name, len(order)), clip.id))
    if sheet is not None:
        from maclip_runtime.gallery.sheet import write_sheet

        write_sheet(clips, sheet, with_class=several)
        people().print(escape(f"see {sheet}"), soft_wrap=True)
    facts = [
        {
            "id": clip.id,
            "class_name": clip.class_name,
            "text_name": clip.text_name,
            "source": clip.source,
            "duration_s": clip.duration_s,
            "enrolled_at": clip.enrolled_at,
            "quality": clip.quality,
            "forced": list(clip.forced),
        }
        for clip in clips
    ]
    if as_json:
        for fact in facts:
            print_json(fact)
        return
    table = Table("clip", title="all classes" if several else escape(name) if name else "none of the classes")
    if several:
        table.add_column("class")
    table.add_column("source", overflow="fold", min_width=MAX_SOURCE_LENGTH)
    figures = sorted({key for clip in clips for key in clip.quality})
    for heading in ("seconds", *figures):
        table.add_column(heading, justify="right")
    # A column that is empty for all clips would only take room.
    texts, forced = any(clip.text_name for clip in clips), any(clip.forced for clip in clips)
    for heading in ["text"] * texts + ["forced"] * forced:
        table.add_column(heading)
    for clip in clips:
        table.add_row(
            str(clip.id),
            *[escape(clip.class_name)] * several,
            escape(_tail(clip.source)),
            f"{clip.duration_s:.1f}",
            *(f"{clip.quality[key]:.1f}" if key in clip.quality else "-" for key in figures),
            *[escape(clip.text_name or "-")] * texts,
            *[", ".join(clip.forced) or "-"] * forced,
        )
    results().print(table)


@gallery_app.command()
@changes
def remove(
    gallery: GalleryOption,
    name: OptionalName = None,
    negatives: NegativesOption = False,
    clip: Annotated[int | None, typer.Option(help="Only this clip, by the number that `show` prints.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a class or the negatives, or one clip of them."""
    _require_one(name, negatives)
    with open_gallery(gallery) as opened:
        gone = opened.remove(name, clip_id=clip) if name else opened.remove_negatives(clip_id=clip)
    if as_json:
        print_json({"name": name, "removed": gone})
    else:
        whose = repr(name) if name else "the negatives"
        results().print(escape(f"Removed {gone} {'clip' if gone == 1 else 'clips'} of {whose}."), soft_wrap=True)


@gallery_app.command()
@changes
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD")],
    new: Annotated[str, typer.Argument(metavar="NEW")],
    gallery: GalleryOption,
    as_json: JsonOption = False,
) -> None:
    """Rename a class; the text with which it was enrolled stays."""
    with open_gallery(gallery) as opened:
        opened.rename(old, new)
    if as_json:
        print_json({"old": old, "new": new})
    else:
        results().print(escape(f"{old!r} is now {new!r}."))


@gallery_app.command("export")
@changes
def export_to(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ZIP file to write.")],
    gallery: GalleryOption,
    as_json: JsonOption = False,
) -> None:
    """Write all clips, negatives and calibrated limits to one file, for another machine with the same bundle."""
    from maclip_runtime.gallery.exchange import export_gallery

    with open_gallery(gallery) as opened:
        count = export_gallery(opened, file)
    if as_json:
        print_json({"file": str(file), "clips": count})
    else:
        results().print(escape(f"Wrote {count} clips to {file}."), soft_wrap=True)


@gallery_app.command("import")
@changes
def import_from(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `export` wrote.")],
    gallery: GalleryOption,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="Only classes that the gallery has not; what it recognises now stays.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add the clips of an exported file, all or none; clips that are there already are skipped."""
    from maclip_runtime import Gallery
    from maclip_runtime.gallery.exchange import import_gallery

    with Gallery(gallery) as opened:
        done = import_gallery(opened, file, new_only=new_only)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    said = f"{done.added} clips in {len(done.classes)} classes ({done.negatives} negatives), skipped {done.skipped}"
    results().print(escape(f"Imported {said}; added {done.limits} calibrated limits."), soft_wrap=True)
    for words, names in (
        ("These classes were there before and have more clips now", done.joined),
        ("Left out, because the gallery has them", done.left),
    ):
        if names:
            results().print(escape(f"{words}: {', '.join(map(repr, names))}."), soft_wrap=True)


def _require_one(name: str | None, negatives: bool) -> None:
    if (name is None) == (not negatives):
        raise MaclipError(
            "option-invalid", "Either a class or --negatives is needed, not both.", "Give NAME or --negatives."
        )


def _limit(info: ClassInfo) -> str:
    if info.limit is None:
        return "measured"
    return f"{info.limit:.3f}" + (", stale: calibrate again" if info.stale else "")


def _tail(source: str) -> str:
    """The end of a long source, which differs between clips more than its beginning; `--json` has all of it."""
    return source if len(source) <= MAX_SOURCE_LENGTH else "…" + source[1 - MAX_SOURCE_LENGTH :]
