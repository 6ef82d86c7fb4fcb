"""`maclip-run doctor`: what this machine can run, where graphs really run, and a fix for each problem."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import print_json, results
from maclip_cli.device.options import BUNDLE_VARIABLE, DeviceOption, TrustEnginesOption
from maclip_cli.device.prepare import print_timings

if TYPE_CHECKING:
    from rich.console import Console

    from maclip_runtime.tools.doctor import Report

MAX_NODES_SHOWN = 3


def doctor(
    device: DeviceOption = "auto",
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", envvar=BUNDLE_VARIABLE, help="Run each graph of this bundle once and show where it ran."
        ),
    ] = None,
    trust_engines: TrustEnginesOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Show what this machine can run, what auto chooses, what is missing, and a fix for each problem."""
    from maclip_runtime.tools.doctor import diagnose, require_device

    report = diagnose(device, bundle, trust_engines=trust_engines)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        print_report(report, results())
    if report.chosen is None:
        require_device(device)


def print_report(report: Report, out: Console) -> None:
    """Print the report as tables, the problems and their fixes last."""
    out.print(_pairs("this machine", report.machine))
    out.print(_pairs("versions", {name: found or "-" for name, found in report.versions.items()}))
    table = Table("device", "", "what runs, or why not", title="devices", title_justify="left")
    for state in report.devices:
        message = state.message if state.works else f"{state.message}\n{state.fix}"
        table.add_row(escape(state.device), "yes" if state.works else "no", escape(message))
    out.print(table)
    if report.libraries:
        table = Table("library", "missing", title="libraries of onnxruntime's providers", title_justify="left")
        for library in report.libraries:
            table.add_row(escape(library.file), escape(", ".join(library.missing) or "nothing"))
        out.print(table)
    if report.graphs:
        table = Table("graph", "ran", "elsewhere", title=f"on {escape(str(report.chosen))}", title_justify="left")
        for run in report.graphs:
            table.add_row(escape(run.graph), escape(run.ran), escape(_some(run.fallback_nodes)))
        out.print(table)
    print_timings(report.timings)
    out.print(_surroundings(report))
    if report.device == "auto":
        line = f"auto chooses {report.chosen}: {report.why}." if report.chosen else "auto finds nothing to run with."
        out.print(escape(line), soft_wrap=True)
    if report.signed is not None:
        signed = "is signed: maclip-run verify checks it" if report.signed else "is not signed"
        out.print(f"The bundle {signed}.", soft_wrap=True)
    if not report.problems:
        out.print("No problems found.")
    for number, problem in enumerate(report.problems, 1):
        out.print(escape(f"problem {number}, {problem.subject}: {problem.message}"), soft_wrap=True)
        out.print(escape(f"  fix: {problem.fix}"), soft_wrap=True)


def _some(fallback_nodes: tuple[str, ...]) -> str:
    """The first few nodes; --json has all."""
    more = f" and {len(fallback_nodes) - MAX_NODES_SHOWN} more" if len(fallback_nodes) > MAX_NODES_SHOWN else ""
    return ", ".join(fallback_nodes[:MAX_NODES_SHOWN]) + more or "none"


def _pairs(title: str, pairs: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in pairs.items():
        table.add_row(escape(name), escape(value))
    return table


def _surroundings(report: Report) -> Table:
    table = Table("", "", "for", title="extras and cameras", title_justify="left")
    for extra in report.extras:
        have = "yes" if extra.installed else f"no: pip install 'maclip[{extra.name}]'"
        table.add_row(escape(extra.name), escape(have), escape(extra.purpose))
    for camera in report.cameras:
        table.add_row(escape(camera.path), "yes" if camera.readable else "not readable", escape(camera.name))
    if not report.cameras:
        table.add_row("/dev/video*", "none", "cameras of this machine")
    table.add_row("GStreamer", escape(report.gstreamer or "no"), "csi:// cameras of a Jetson, gst:")
    table.add_row("cache", escape(report.cache), "compiled engines, and what auto was measured to be")
    return table
