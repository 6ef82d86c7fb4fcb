"""`maclip-run recognize`: what clips show, or what happens when in videos and on cameras."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli import streams
from maclip_cli.console import print_json, results
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
    GalleryOption,
    InsecureOption,
    JsonOption,
    ThreadsOption,
    TrustEnginesOption,
    open_recognizer,
    total_length,
)
from maclip_cli.device.outputs import (
    STDOUT,
    EvidenceAgeOption,
    EvidenceOption,
    EvidenceSizeOption,
    HomeAssistantOption,
    KeepOption,
    LogOption,
    MessageOption,
    MetricsOption,
    OutputOptions,
    Outputs,
    ReportOption,
    RotateOption,
    SaveOption,
    StatusOption,
    ToOption,
    open_outputs,
)
from maclip_cli.waiting import bar
from maclip_runtime.errors import MaclipError
from maclip_runtime.redaction import redact

if TYPE_CHECKING:
    from maclip_runtime import Callbacks, Classification, Event, Recognizer
    from maclip_runtime.sources import SourceOptions

WINDOWS = "Windows"
SOURCES = "Sources"
OUTPUTS = "Outputs"


def recognize(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Video files, folders of frames, cameras (0, /dev/video0) or addresses (rtsp://, http://); "
            "NAME=SOURCE gives one a name.",
        ),
    ],
    bundle: BundleOption,
    gallery: GalleryOption,
    whole_clip: Annotated[bool, typer.Option("--whole-clip", help="One answer for each whole clip.")] = False,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    window: Annotated[
        float | None,
        typer.Option(help="Length of a window in seconds; default: 3/4 of an enrolled clip.", rich_help_panel=WINDOWS),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            help="Seconds between windows, rounded to a T-th of the window; default: a quarter of the window.",
            rich_help_panel=WINDOWS,
        ),
    ] = None,
    motion_gate: Annotated[
        float | None,
        typer.Option(
            metavar="LEVELS",
            help="Skip pictures that change by fewer grey levels (0 to 255); about 0.7 suits a fixed camera; "
            "default: no gate.",
            rich_help_panel=WINDOWS,
        ),
    ] = None,
    roi: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Use only this part of the picture, as fractions; once for all sources, or once for each.",
            rich_help_panel=SOURCES,
        ),
    ] = None,
    stall: Annotated[
        float | None,
        typer.Option(help="Seconds without a frame after which a camera is reconnected.", rich_help_panel=SOURCES),
    ] = None,
    reconnects: Annotated[
        int | None,
        typer.Option(
            help="Failed attempts in a row before a camera is given up; default: never.", rich_help_panel=SOURCES
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for a camera that does not answer at the start.", rich_help_panel=SOURCES),
    ] = False,
    insecure: InsecureOption = False,
    min_score: ScoreOption = 0.0,
    limit: LimitOption = None,
    margin: MarginOption = None,
    min_duration: DurationOption = None,
    gap: GapOption = None,
    overlap: OverlapOption = False,
    updates: UpdatesOption = "0",
    no_unknown: NoUnknownOption = False,
    to: ToOption = None,
    rotate_mb: RotateOption = 10.0,
    keep: KeepOption = 5,
    home_assistant: HomeAssistantOption = False,
    message_seconds: MessageOption = 60.0,
    save: SaveOption = None,
    report: ReportOption = None,
    evidence: EvidenceOption = None,
    evidence_mb: EvidenceSizeOption = 1000.0,
    evidence_days: EvidenceAgeOption = 30.0,
    metrics: MetricsOption = None,
    log: LogOption = None,
    status: StatusOption = False,
) -> None:
    """Say which enrolled action a clip shows, or what happens when in long videos or on cameras."""
    decisions = decisions_of(
        not no_unknown,
        updates,
        min_score=min_score,
        limit=limit,
        min_margin=margin,
        min_duration_s=min_duration,
        gap_s=gap,
        overlap=overlap,
    )
    names, addresses = zip(*map(named, sources), strict=True)
    options = source_options(names, roi or [], stall, reconnects, wait, insecure)
    places = [*([STDOUT] if as_json and not whole_clip else []), *(to or [])]
    wanted = OutputOptions(
        to=places,
        rotate_mb=rotate_mb,
        keep=keep,
        home_assistant=home_assistant,
        message_s=message_seconds,
        save=save,
        report=report,
        evidence=evidence,
        evidence_mb=evidence_mb,
        evidence_days=evidence_days,
        metrics=metrics,
        log=log,
        status=status,
    )
    if whole_clip and wanted.any:
        raise MaclipError(
            "option-invalid",
            "--whole-clip gives one answer a clip, not a stream of events.",
            "Leave out --to, --save, …",
        )
    wanted.start_logs()
    with open_recognizer(bundle, gallery, device, decisions, allow_fallback, threads, trust_engines) as recognizer:
        if whole_clip:
            _print_clips(recognizer, addresses, options, as_json)
            return
        length_s = None if status else total_length(addresses)
        with open_outputs(wanted, addresses, recognizer.gallery) as outputs, _ahead(length_s) as ahead:
            events = recognizer.watch(
                addresses,
                window_s=window,
                hop_s=hop,
                callbacks=[*outputs.callbacks, *ahead],
                options=options,
                motion_gate=motion_gate,
                evidence=next(iter(outputs.evidence), None),
            )
            _print_events(events, outputs, STDOUT in places, named=len(sources) > 1)


def named(text: str) -> tuple[str | None, str]:
    """The name and the address of NAME=SOURCE."""
    from maclip_runtime.sources import split_name

    return split_name(text)


def source_options(
    names: Sequence[str | None],
    rois: list[str],
    stall_s: float | None,
    reconnects: int | None,
    wait: bool,
    insecure: bool,
) -> list[SourceOptions]:
    """Options for each of the sources. Raises `option-invalid`, `roi-invalid`."""
    from maclip_runtime.sources import Roi, SourceOptions, check_names

    count = len(names)
    if len(rois) not in (0, 1, count):
        raise MaclipError(
            "option-invalid",
            f"{len(rois)} regions were given for {count} sources.",
            "Give --roi once for all sources, or once for each in their order.",
        )
    parts: list[Roi | None] = [*map(Roi.parse, rois)] or [None]
    each = parts * count if len(parts) == 1 else parts
    options = [
        SourceOptions(stall_s=stall_s, reconnects=reconnects, wait=wait, roi=part, name=name, insecure=insecure)
        for part, name in zip(each, names, strict=True)
    ]
    check_names(options)
    return options


@contextmanager
def _ahead(length_s: float | None) -> Iterator[list[Callbacks]]:
    """Callbacks that show how much of files of `length_s` seconds has been watched; none where that is not known."""
    if length_s is None:
        yield []
        return
    from maclip_cli.device.ahead import Ahead

    with bar("watching") as update:
        yield [Ahead(lambda done_s: update(done_s, length_s))]


def _print_events(events: Iterable[Event], outputs: Outputs, as_json: bool, named: bool) -> None:
    for event in events:
        if outputs.reader_gone or streams.reader_gone():
            return
        if not as_json:
            print_event(event, named)


def _print_clips(recognizer: Recognizer, clips: Sequence[str], options: Sequence[SourceOptions], as_json: bool) -> None:
    """One answer for each clip; one that cannot be answered is reported, and its error raised after the others."""
    failed: MaclipError | None = None
    for clip, option in zip(clips, options, strict=True):
        try:
            answer = recognizer.classify(clip, roi=option.roi)
        except MaclipError as error:
            if len(clips) == 1 or not error.code.startswith("clip-"):
                raise
            failed = failed or error
            logging.getLogger("maclip").warning("%s ended: %s", option.name or redact(clip), error)
            continue
        _print_clip(dataclasses.replace(answer, source=option.name or answer.source), as_json)
    if failed is not None:
        raise failed


def _print_clip(answer: Classification, as_json: bool) -> None:
    if as_json:
        from maclip_runtime.sinks import SCHEMA

        print_json({"schema": SCHEMA, "kind": "clip", **dataclasses.asdict(answer), "unknown": answer.unknown})
        return
    limit = "no limit" if answer.limit is None else f"limit {answer.limit:.3f}"
    results().print(escape(f"{answer.source}: {answer.label}"), soft_wrap=True)
    table = Table("class", "match", "probability", f"distance ({limit})")
    for name in sorted(answer.probabilities, key=lambda name: -answer.probabilities[name]):
        mark = "bold" if name == answer.label else None
        figures = (answer.matches[name], answer.probabilities[name], answer.distances[name])
        table.add_row(escape(name), *(f"{figure:.3f}" for figure in figures), style=mark)
    results().print(table)
    results().print("match: 0.5 is at the class's limit, more is within it.", style="dim", soft_wrap=True)


def print_event(event: Event, named: bool) -> None:
    """Print a start or an end as a line for people; `named`: with its source."""
    if event.kind == "update":
        return
    time_s = event.start_s if event.kind == "start" else event.end_s
    line = f"{time_s:9.2f} s  {event.kind:5}  {event.label}  match {event.match:.2f}"
    if event.withdrawn:
        line += "  withdrawn"
    if event.kind == "end":
        line += f"  from {event.start_s:.2f} s"
    if named:
        line += f"  {event.source}"
    results().print(escape(line), soft_wrap=True)
