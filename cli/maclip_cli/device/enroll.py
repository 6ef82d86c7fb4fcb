"""`maclip-run enroll` and `maclip-run negatives`: add clips of an action, or clips that show none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from maclip_cli.console import print_json, results
from maclip_cli.device.options import (
    AllowFallbackOption,
    BundleOption,
    DeviceOption,
    GalleryOption,
    InsecureOption,
    JsonOption,
    ThreadsOption,
    TrustEnginesOption,
    open_recognizer,
)
from maclip_cli.waiting import bar, doing
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Enrolled
    from maclip_runtime.sources import Roi

CAMERA = "From a camera"
RoiOption = Annotated[
    str | None, typer.Option(metavar="X,Y,W,H", help="Use only this part of the picture, as fractions.")
]


def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the action.")],
    bundle: BundleOption,
    gallery: GalleryOption,
    clips: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLIP...", help="Video files, folders of frames, recordings of ROS (bag:)."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="The action's name in the vocabulary; any name where the bundle has a text encoder. Default: NAME, or "
            "without text if the bundle does not know it or does not use names."
        ),
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Learn from the clips alone.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also enroll clips that are still, dark, blurred, there already, or like another class."
        ),
    ] = False,
    roi: RoiOption = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="SOURCE", help="Record from this camera or address.", rich_help_panel=CAMERA),
    ] = None,
    record: Annotated[float, typer.Option(help="Seconds of a take.", rich_help_panel=CAMERA)] = 3.0,
    countdown: Annotated[float, typer.Option(help="Seconds to get ready.", rich_help_panel=CAMERA)] = 3.0,
    takes: Annotated[int, typer.Option(min=1, help="How many times to record.", rich_help_panel=CAMERA)] = 1,
    insecure: InsecureOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Keep each take without asking.", rich_help_panel=CAMERA)] = False,
    strip: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the takes' pictures to this PNG.", rich_help_panel=CAMERA),
    ] = None,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn an action from clips or recordings: all are added to the class NAME, or none if one is no good."""
    if bool(clips) == (source is not None):
        raise MaclipError(
            "option-invalid", "Give clips or a source to record from, not both.", "Give CLIP... or --from."
        )
    region = _roi(roi)
    with open_recognizer(bundle, gallery, device, None, allow_fallback, threads, trust_engines) as recognizer:
        if source is not None:
            from maclip_cli.device.record import record_takes

            recognizer.enroller.check_name(name, text=text, no_text=no_text)
            made = record_takes(recognizer, source, record, countdown, takes, yes, strip, region, insecure)
            done = recognizer.enroller.enroll_takes(name, made, text=text, no_text=no_text, force=force)
        else:
            assert clips is not None
            count = len(clips)
            with bar("reading clips") as update:
                done = recognizer.enroll(
                    name,
                    clips,
                    text=text,
                    no_text=no_text,
                    force=force,
                    progress=lambda read: update(read, count),
                    roi=region,
                )
    if as_json:
        print_json(dataclasses.asdict(done))
    else:
        _print(done)


def negatives(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP...", help="Video files, folders of frames, recordings of ROS (bag:).")
    ],
    bundle: BundleOption,
    gallery: GalleryOption,
    force: Annotated[bool, typer.Option("--force", help="Also add clips that are there already.")] = False,
    roi: RoiOption = None,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add clips that show none of the actions, so that what looks like them is called unknown."""
    with open_recognizer(bundle, gallery, device, None, allow_fallback, threads, trust_engines) as recognizer:
        with doing("reading clips"):
            added = recognizer.add_negatives(clips, force=force, roi=_roi(roi))
        total = len(recognizer.gallery.negatives())
    if as_json:
        print_json({"added": added, "negatives": total})
    else:
        results().print(f"Added {added} negatives, {total} in all.")


def _roi(text: str | None) -> Roi | None:
    from maclip_runtime.sources import Roi

    return None if text is None else Roi.parse(text)


def _print(done: Enrolled) -> None:
    said = f"with the text {done.text_name!r}" if done.text_name else "without text"
    out = results()
    out.print(escape(f"Enrolled {done.name!r} {said}: {done.added} new, {done.clips} in all."), soft_wrap=True)
    if done.forced:
        out.print(escape(f"Kept in spite of: {', '.join(done.forced)}."), soft_wrap=True)
    for note in done.notes:
        out.print(escape(note), soft_wrap=True)
