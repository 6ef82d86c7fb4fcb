"""`maclip-run gallery doctor`: which clips and classes harm a gallery, and what one more clip would bring."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import people, print_json, results
from maclip_cli.device.options import (
    AllowFallbackOption,
    BundleOption,
    DeviceOption,
    GalleryOption,
    ThreadsOption,
    TrustEnginesOption,
    open_recognizer,
    require_gallery,
)
from maclip_cli.waiting import bar

if TYPE_CHECKING:
    from rich.console import Console

    from maclip_runtime import Diagnosis
    from maclip_runtime.limits.intervals import Interval

MAX_CLASSES = 40  # in the table, those with the most errors first
MAX_OF_A_KIND = 10  # findings that people read; --json has all


def doctor(
    bundle: BundleOption,
    gallery: GalleryOption,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the clips of the findings to this PNG, one row per finding."),
    ] = None,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Leave out each clip in turn: which clips and classes do harm, and a fix for each finding."""
    require_gallery(gallery)
    console = people()
    with open_recognizer(bundle, gallery, device, None, allow_fallback, threads, trust_engines) as recognizer:
        with bar("leaving out clips") as update:
            found = recognizer.diagnose(progress=update)
        if sheet is not None and found.findings:
            from maclip_runtime.diagnosis.sheet import write_findings

            write_findings(found.findings, recognizer.gallery, sheet)
            console.print(escape(f"see {sheet}"), soft_wrap=True)
        elif sheet is not None:
            console.print(escape(f"Nothing to show: {sheet} was not written."), soft_wrap=True)
    if as_json:
        print_json(found.facts())
    else:
        print_diagnosis(found, results())


def print_diagnosis(found: Diagnosis, out: Console) -> None:
    """Print the figures as tables, then the findings with their fixes."""
    if found.tested:
        out.print(
            f"Left out one by one, {found.right} of {found.tested} clips are answered right by the rest of the gallery."
        )
    if found.classes:
        out.print(_classes(found))
        hidden = len(found.classes) - MAX_CLASSES
        if hidden > 0:
            out.print(f"{hidden} more classes with no more errors than these; --json has all.", soft_wrap=True)
    if found.curve:
        out.print(_curve(found))
    for note in found.notes:
        out.print(escape(note), soft_wrap=True)
    if not found.findings:
        out.print("No findings.")
    seen: Counter[str] = Counter()
    for number, finding in enumerate(found.findings, 1):
        seen[finding.kind] += 1
        if seen[finding.kind] > MAX_OF_A_KIND:
            continue
        out.print(escape(f"finding {number}, {finding.kind}: {finding.message}"), soft_wrap=True)
        out.print(escape(f"  fix: {finding.fix}"), soft_wrap=True)
        for command in finding.commands:
            out.print(escape(f"    {command}"), soft_wrap=True)
    for kind, count in seen.items():
        if count > MAX_OF_A_KIND:
            out.print(f"{count - MAX_OF_A_KIND} more findings {kind!r}; --json has all.", soft_wrap=True)


def _classes(found: Diagnosis) -> Table:
    table = Table("class")
    for heading in ("clips", "answered right", "95 %", "limit", "beyond it"):
        table.add_column(heading, justify="right")
    for one in sorted(found.classes, key=lambda one: one.right - one.tested)[:MAX_CLASSES]:
        table.add_row(
            escape(one.name),
            str(one.clips),
            f"{one.right} of {one.tested}" if one.tested else "not measurable",
            _percent(one.interval),
            "none" if one.limit is None else f"{one.limit:.3f}",
            "-" if one.limit is None else str(one.beyond_limit),
        )
    return table


def _curve(found: Diagnosis) -> Table:
    table = Table(title="what one more clip brought, by the nearest class", title_justify="left")
    for heading in ("clips", "", "before", "after", "gain", "95 %", "tested"):
        table.add_column(heading, justify="right")
    for step in found.curve:
        table.add_row(
            f"{step.clips} to {step.clips + 1}",
            "right",
            f"{step.accuracy:.0%}",
            f"{step.accuracy_next:.0%}",
            f"{step.gain:+.0%}",
            _percent(step.gain_interval, sign="+"),
            str(step.tested),
        )
        interval = step.margin_gain_interval
        table.add_row(
            "",
            "margin",
            f"{step.margin:.2f}",
            f"{step.margin_next:.2f}",
            f"{step.margin_gain:+.2f}",
            "-" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}",
            f"{step.classes} {'class' if step.classes == 1 else 'classes'}",
        )
    return table


def _percent(interval: Interval | None, *, sign: str = "") -> str:
    return "-" if interval is None else f"{interval[0]:{sign}.0%} to {interval[1]:{sign}.0%}"
