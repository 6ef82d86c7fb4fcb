"""`maclip-run`: enroll actions and recognise them on a device. Commands parse, call and print; never torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from maclip_cli.console import people, print_json, results, run_app
from maclip_cli.device_build import build
from maclip_cli.device_bundle import info, verify
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Event, Recognizer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Enroll actions from a handful of clips and recognise them in videos and on cameras.",
)
gallery_app = typer.Typer(no_args_is_help=True, help="Look at and change the enrolled classes.")
app.add_typer(gallery_app, name="gallery")
app.command()(info)
app.command()(verify)
app.command()(build)

BundleOption = Annotated[Path, typer.Option("--bundle", help="The folder that `maclip export` wrote.")]
GalleryOption = Annotated[Path, typer.Option("--gallery", help="The gallery's file.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, tensorrt or rtx.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout and nothing else.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A class of the gallery.")]


@app.command()
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
    with _open(bundle, gallery, device) as recognizer, bar as progress:
        task = progress.add_task("Reading clips", total=len(clips))
        done = recognizer.enroll(
            name, clips, text, no_text, force, lambda count: progress.update(task, completed=count)
        )
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    said = f"with the text {done.text_name!r}" if done.text_name else "without text"
    results().print(escape(f"Enrolled {done.name!r} {said}: {done.added} new, {done.clips} in all."))


@app.command()
def recognize(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A video file, a folder of frames, a camera (0, /dev/video0) or an address (rtsp://, http://).",
        ),
    ],
    bundle: BundleOption,
    gallery: GalleryOption,
    whole_clip: Annotated[bool, typer.Option("--whole-clip", help="One answer for the whole clip.")] = False,
    as_json: JsonOption = False,
    window: Annotated[
        float | None, typer.Option(help="Seconds looked at at once; default: the enrolled clips' median.")
    ] = None,
    hop: Annotated[float | None, typer.Option(help="Seconds between windows; default: a quarter window.")] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help='Probability below which the answer is "unknown".')
    ] = 0.0,
    unknown_distance: Annotated[
        float | None,
        typer.Option(help='Distance above which the answer is "unknown"; default: measured on the gallery.'),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Say which enrolled action a clip shows, or what happens when in a long video or on a camera."""
    from maclip_runtime import Decisions

    decisions = Decisions(min_score=threshold, max_distance=unknown_distance)
    with _open(bundle, gallery, device, decisions) as recognizer:
        if whole_clip:
            _print_clip(recognizer, source, as_json)
            return
        for event in recognizer.watch(source, window, hop):
            if as_json:
                print_json(dataclasses.asdict(event))
            else:
                _print_event(event)


@gallery_app.command("list")
def list_classes(gallery: GalleryOption, as_json: JsonOption = False) -> None:
    """The enrolled classes."""
    with _open_gallery(gallery) as opened:
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
    with _open_gallery(gallery) as opened:
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
    with _open_gallery(gallery) as opened:
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
    with _open_gallery(gallery) as opened:
        opened.rename(old, new)
    if as_json:
        print_json({"old": old, "new": new})
    else:
        results().print(escape(f"{old!r} is now {new!r}."))


def main() -> None:
    """The entry point of `maclip-run`."""
    run_app(app)


def _open(bundle: Path, gallery: Path, device: str, decisions: Any = None) -> Recognizer:
    from maclip_runtime import Recognizer

    return Recognizer.open(bundle, gallery, device, decisions)


def _open_gallery(path: Path) -> Any:
    from maclip_runtime import Gallery

    if not path.exists():
        raise MaclipError("gallery-missing", f"There is no gallery {path}.", "Enroll a clip first, or give its file.")
    return Gallery(path)


def _print_clip(recognizer: Recognizer, source: str, as_json: bool) -> None:
    answer = recognizer.classify(source)
    if as_json:
        print_json({"kind": "clip", **dataclasses.asdict(answer), "unknown": answer.unknown})
        return
    limit = "no limit" if answer.max_distance is None else f"unknown above {answer.max_distance:.3f}"
    results().print(escape(f"{answer.source}: {answer.label}"), soft_wrap=True)
    table = Table("class", "probability", f"distance ({limit})")
    for name in sorted(answer.probabilities, key=lambda name: -answer.probabilities[name]):
        mark = "bold" if name == answer.label else None
        table.add_row(escape(name), f"{answer.probabilities[name]:.3f}", f"{answer.distances[name]:.3f}", style=mark)
    results().print(table)


def _print_event(event: Event) -> None:
    if event.kind == "start":
        line = f"{event.start_s:9.2f} s  start  {event.label}  {event.score:.2f}"
    elif event.kind == "end":
        line = f"{event.end_s:9.2f} s  end    {event.label}  {event.score:.2f}  from {event.start_s:.2f} s"
    else:
        return
    results().print(escape(line), soft_wrap=True)


if __name__ == "__main__":
    main()
