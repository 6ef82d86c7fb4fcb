"""`maclip-run bench`: the cost of recognition on this machine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import people
from maclip_cli.device.options import AllowFallbackOption, BundleOption, DeviceOption, ThreadsOption, TrustEnginesOption
from maclip_cli.device.prepare import print_timings
from maclip_cli.settings import ignore_settings
from maclip_cli.waiting import doing

if TYPE_CHECKING:
    from maclip_runtime.tools.bench.result import Bench
    from maclip_runtime.tools.measuring.spread import Times


def bench(
    bundle: BundleOption,
    device: DeviceOption = "auto",
    source: Annotated[
        Path | None, typer.Option(metavar="CLIP", help="A video to watch; default: a generated one, 640 x 480.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="For how long the stages are measured.")] = 10.0,
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    cold_starts: Annotated[int, typer.Option(min=1, help="How many cold starts are measured.")] = 5,
    max_classes: Annotated[int, typer.Option(min=1, help="Measure growth up to so many classes.")] = 10_000,
    max_sources: Annotated[int, typer.Option(min=1, help="Measure growth up to so many sources.")] = 8,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
    submit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the figures without anything personal, for you to send; nothing is sent."
        ),
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them here: .png, .svg or .pdf.")] = None,
) -> None:
    """Time of each stage of a step, frames a second, cold start, memory, growth with classes and with sources."""
    from maclip_runtime.tools.bench.plan import CLASS_COUNTS, SOURCE_COUNTS, Plan, run_bench
    from maclip_runtime.tools.measuring.output import require_outputs, results_console, write_json, writing

    require_outputs(json_file, figure)
    require_outputs(submit)
    if figure is not None:
        from maclip_runtime.tools.bench.figure import require_matplotlib

        require_matplotlib()
    plan = Plan(
        bundle,
        device,
        source,
        seconds,
        threads,
        allow_fallback,
        cold_starts,
        tuple(count for count in CLASS_COUNTS if count <= max_classes),
        tuple(count for count in SOURCE_COUNTS if count <= max_sources),
        trust_engines,
    )

    def command(clip: Path, gallery: Path) -> list[str]:
        options = ["--bundle", str(bundle), "--gallery", str(gallery), "--device", device, "--whole-clip", "--json"]
        options += ["--allow-fallback"] if allow_fallback else []
        options += ["--threads", str(threads)] if threads else []
        options += ["--trust-engines"] if trust_engines else []
        return [sys.executable, "-m", "maclip_cli.device", "recognize", str(clip), *options]

    ignore_settings()  # the recognition that is timed gets its options from here
    with doing("measuring") as note:
        found = run_bench(plan, command, note)
    _print(found, results_console())
    if json_file is not None:
        write_json(json_file, dataclasses.asdict(found))
    if submit is not None:
        from maclip_runtime.tools.bench.submission import submission

        write_json(submit, submission(found))
        people().print(escape(f"{submit} holds what can be sent; look at it first. Nothing was sent."), soft_wrap=True)
    if figure is not None:
        from maclip_runtime.tools.bench.figure import draw

        with writing(figure):
            draw(found, figure)


def _print(bench: Bench, console: Console) -> None:
    print_timings(bench.engines)
    streaming, sustained, cold = bench.streaming, bench.streaming.sustained, bench.cold_start
    console.print(_stages(bench))
    console.print(
        f"{streaming.beside_network:.1%} of a step is spent outside the network; sustained, "
        f"{sustained.windows_per_second:.1f} windows and {sustained.frames_per_second:.0f} frames of video per second; "
        f"resident {_form(sustained.memory_mib, '.0f')} MiB, peak {_form(sustained.peak_mib, '.0f')} MiB.",
        soft_wrap=True,
    )
    parts = ", ".join(f"{part} {seconds:.3f}" for part, seconds in cold.parts_s.items())
    best, worst = min(cold.command_s), max(cold.command_s)
    console.print(
        f"cold start: {best:.2f} to {worst:.2f} s from the command to its answer ({len(cold.command_s)} times); in a "
        f"bare process {sum(cold.parts_s.values()):.2f} s: {parts}; then resident {_form(cold.memory_mib, '.0f')} MiB.",
        soft_wrap=True,
    )
    if bench.classes:
        console.print(_classes(bench))
    if bench.sources:
        console.print(_sources(bench))
    machine = bench.machine
    busy = ": busy, so the figures are doubtful" if machine["busy"] else ""
    console.print(
        f"{bench.bundle['backbone']}, {bench.bundle['precision']}, {bench.bundle['mib']} MiB, on {bench.device}; "
        f"{machine['cores']} cores of {machine['processor']}; load before {machine['load_before']}{busy}",
        soft_wrap=True,
    )


def _stages(bench: Bench) -> Table:
    from maclip_runtime.tools.measuring.output import table

    streaming = bench.streaming
    made = table(
        f"milliseconds a step: {streaming.hop_s:g} s of video, a window of {streaming.window_s:g} s",
        ("stage", "p50", "p90", "p99", "share"),
        ((stage, *_times(times), f"{times.p50 / streaming.step.p50:.1%}") for stage, times in streaming.stages.items()),
    )
    made.add_section()
    made.add_row("end to end", *_times(streaming.step), f"{streaming.step.count} steps")
    return made


def _classes(bench: Bench) -> Table:
    from maclip_runtime.tools.measuring.output import table

    return table(
        "growth with enrolled classes, one clip each",
        ("classes", "match p50 ms", "p99 ms", "arrays MiB", "grown by MiB", "first read s", "read s"),
        (
            (
                f"{one.classes:,}",
                *(_form(value, ".3g") for value in (one.match.p50, one.match.p99, one.arrays_mib, one.grown_mib)),
                *(_form(value, ".3f", f"over {one.limit_s:.0f}") for value in (one.first_load_s, one.load_s)),
            )
            for one in bench.classes
        ),
        text_columns=0,
    )


def _sources(bench: Bench) -> Table:
    from maclip_runtime.tools.measuring.output import table

    return table(
        "growth with sources, watched together by one session",
        ("sources", "windows/s", "frames/s", "MiB"),
        (
            (
                str(one.sources),
                f"{one.windows_per_second:.2f}",
                f"{one.frames_per_second:.0f}",
                _form(one.memory_mib, ".0f"),
            )
            for one in bench.sources
        ),
        text_columns=0,
    )


def _times(times: Times) -> list[str]:
    return [f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in (times.p50, times.p90, times.p99)]


def _form(value: float | None, form: str, absent: str = "-") -> str:
    return absent if value is None else f"{value:{form}}"
