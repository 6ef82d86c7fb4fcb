"""`maclip-run recognize`: what a clip shows, or what happens when on a stream."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import print_json, results
from maclip_cli.device_options import BundleOption, DeviceOption, GalleryOption, JsonOption, open_recognizer

if TYPE_CHECKING:
    from maclip_runtime import Event, Recognizer


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
    with open_recognizer(bundle, gallery, device, decisions) as recognizer:
        if whole_clip:
            _print_clip(recognizer, source, as_json)
            return
        for event in recognizer.watch(source, window, hop):
            if as_json:
                print_json(dataclasses.asdict(event))
            else:
                _print_event(event)


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
