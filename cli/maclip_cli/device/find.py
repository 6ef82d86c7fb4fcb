"""`maclip-run find`: where an action happens in indexed videos."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import people, print_json, results
from maclip_cli.device.decisions import (
    DurationOption,
    GapOption,
    LimitOption,
    MarginOption,
    NoUnknownOption,
    OverlapOption,
    ScoreOption,
    UpdatesOption,
    decisions_of,
)
from maclip_cli.device.options import (
    AllowFallbackOption,
    BundleOption,
    DeviceOption,
    JsonOption,
    StoreOption,
    ThreadsOption,
    TrustEnginesOption,
    require_gallery,
)
from maclip_cli.ray_option import RayOption, fleet_at, threads_of
from maclip_cli.waiting import bar, doing
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Decisions
    from maclip_runtime.archive import Archive, Filters, Found, Search
    from maclip_runtime.fleet import Fleet

MAX_EXAMPLES = 6  # clips in a report


def find(
    store: StoreOption,
    bundle: BundleOption,
    clips: Annotated[
        list[str] | None, typer.Argument(metavar="[CLIP]...", help="Clips that show the action; one is enough.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="A class of --gallery instead of clips.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", envvar="MACLIP_GALLERY", help="The gallery of --class and --events.")
    ] = None,
    events: Annotated[
        bool,
        typer.Option("--events", help="Instead: the events of all videos, as if they had been watched with --gallery."),
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="At most so many results.")] = 20,
    source: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only videos with this in their name; * and ? stand for any.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Only videos last changed then or later: 2026-11-29, 2026-11-29T14:30."),
    ] = None,
    as_json: JsonOption = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a web page with the results and their frames.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results' frames as one picture, .jpg or .png.")
    ] = None,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    min_score: ScoreOption = 0.0,
    limit: LimitOption = None,
    margin: MarginOption = None,
    min_duration: DurationOption = None,
    gap: GapOption = None,
    overlap: OverlapOption = False,
    updates: UpdatesOption = "0",
    no_unknown: NoUnknownOption = False,
    ray: RayOption = None,
) -> None:
    """Find where an action happens in the videos of a store; the options for answers count with --events."""
    from maclip_runtime.archive import Archive, Filters

    filters = Filters(source, None if since is None else _unix(since))
    _check(clips or [], class_name, gallery, events, report or sheet)
    decisions = decisions_of(
        not no_unknown, updates, min_score=min_score, limit=limit, min_margin=margin, min_duration_s=min_duration,
        gap_s=gap, overlap=overlap,
    )  # fmt: skip
    with (
        Archive.open(
            store, bundle,
            device=device, allow_fallback=allow_fallback, threads=threads_of(ray, threads),
            trust_engines=trust_engines,
        ) as archive,
        fleet_at(ray, device, threads) as fleet,
    ):  # fmt: skip
        if events:
            assert gallery is not None
            _print_events(archive, gallery, decisions, filters, as_json, fleet)
            return
        whose = None if class_name is None else gallery
        with doing("searching"):
            found = archive.find(
                clips or [], class_name=class_name, gallery=whose, top=top, filters=filters, fleet=fleet
            )
    _write(found, clips or [], class_name, gallery, report, sheet)
    if as_json:
        from maclip_runtime.archive.archive import SCHEMA

        for one in found.found:
            print_json({"schema": SCHEMA, "kind": "found", **dataclasses.asdict(one)})
    else:
        _print(found)


def _check(clips: list[str], class_name: str | None, gallery: Path | None, events: bool, picture: Path | None) -> None:
    if events and (clips or class_name is not None or picture is not None):
        raise MaclipError(
            "option-invalid", "--events looks for all classes of a gallery, and gives events.",
            "Leave out clips, --class, --report and --sheet.",
        )  # fmt: skip
    if events or class_name is not None:
        if gallery is None:
            raise MaclipError("option-invalid", "--class and --events need a gallery.", "Give --gallery FILE.")
        require_gallery(gallery)


def _unix(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise MaclipError(
            "option-invalid", f"--since {text!r} is no date.", "Give 2026-11-29 or 2026-11-29T14:30, in local time."
        ) from None


def _print_events(
    archive: Archive, gallery: Path, decisions: Decisions, filters: Filters, as_json: bool, fleet: Fleet
) -> None:
    from maclip_cli import streams
    from maclip_cli.device.recognize import print_event
    from maclip_runtime.sinks.record import event_record

    for event in archive.events(gallery, decisions=decisions, filters=filters, fleet=fleet):
        if streams.reader_gone():
            return
        if as_json:
            print_json(event_record(event))
        else:
            print_event(event, named=True)


def _write(
    search: Search,
    clips: list[str],
    class_name: str | None,
    gallery: Path | None,
    report: Path | None,
    sheet: Path | None,
) -> None:
    if report is None and sheet is None:
        return
    from maclip_runtime.archive.report import write_report
    from maclip_runtime.archive.sheet import write_sheet
    from maclip_runtime.archive.strips import strip_of

    there = [one for one in search.found if one.video == "there"]
    strips = {}
    with bar("cutting frames") as update:
        for number, one in enumerate(there):
            update(number, len(there))
            if (strip := strip_of(one.path, one.start_s, one.end_s)) is not None:
                strips[one.rank] = strip
    if sheet is not None:
        write_sheet(search, strips, sheet)
        people().print(escape(f"see {sheet}"), soft_wrap=True)
    if report is not None:
        title = class_name or ", ".join(Path(clip).name for clip in clips)
        write_report(report, search, strips, title=title, examples=_examples(clips, class_name, gallery))
        people().print(escape(f"see {report}"), soft_wrap=True)


def _examples(clips: list[str], class_name: str | None, gallery: Path | None) -> list[tuple[str, bytes]]:
    from maclip_runtime import Gallery
    from maclip_runtime.archive.strips import strip_of
    from maclip_runtime.sources import local_path, open_source, redact

    if class_name is not None and gallery is not None:
        with Gallery(gallery) as opened:
            found = opened.clips(opened.spelling(class_name))
        return [(clip.source, clip.thumbnail) for clip in found[-MAX_EXAMPLES:]]
    made = []
    for clip in clips[:MAX_EXAMPLES]:
        with open_source(clip) as opened_clip:
            length_s = opened_clip.length_s
        strip = strip_of(str(local_path(clip)), 0.0, length_s or 1.0)
        if strip is not None:
            made.append((redact(clip), strip))
    return made


def _print(search: Search) -> None:
    from maclip_runtime.archive.report import clock

    out = results()
    table = Table("", "match", "distance", "from", "to", "windows")
    table.add_column("video", overflow="fold")
    for one in search.found:
        table.add_row(
            str(one.rank), f"{one.match:.2f}", f"{one.distance:.3f}", clock(one.start_s), clock(one.end_s),
            str(one.windows), escape(_place(one)),
        )  # fmt: skip
    out.print(table)
    typical = "" if math.isnan(search.typical) else f"; a typical window's distance is {search.typical:.3f}"
    limit = "" if search.limit is None else f", the limit {search.limit:.3f}"
    out.print(
        f"{search.windows:,} windows, {search.hours:.1f} h of video, in {sum(search.seconds.values()):.1f} s"
        f"{typical}{limit}.",
        style="dim", soft_wrap=True,
    )  # fmt: skip


def _place(one: Found) -> str:
    return one.source if one.video == "there" else f"{one.source} ({one.video})"
