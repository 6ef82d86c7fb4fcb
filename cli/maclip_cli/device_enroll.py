"""`maclip-run enroll`: learn an action from clips."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from maclip_cli.console import people, print_json, results
from maclip_cli.device_options import BundleOption, DeviceOption, GalleryOption, JsonOption, open_recognizer


def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the action.")],
    clips: Annotated[list[str], typer.Argument(metavar="CLIP...", help="Video files or folders of frames.")],
    bundle: BundleOption,
    gallery: GalleryOption,
    text: Annotated[
        str | None,
        typer.Option(help="The action's name in the vocabulary; any name where the bundle has a text encoder."),
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Learn from the clips alone.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Enroll even a clip that is there already.")] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Learn an action from clips: all of them are added to the class NAME, or none where one cannot be read."""
    console = people()
    # Where nobody watches, a bar is noise in a log.
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with open_recognizer(bundle, gallery, device) as recognizer, bar as progress:
        task = progress.add_task("Reading clips", total=len(clips))
        done = recognizer.enroll(
            name, clips, text, no_text, force, lambda count: progress.update(task, completed=count)
        )
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    said = f"with the text {done.text_name!r}" if done.text_name else "without text"
    results().print(escape(f"Enrolled {done.name!r} {said}: {done.added} new, {done.clips} in all."))
