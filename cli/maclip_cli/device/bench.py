"""`maclip-run bench`: the cost of recognition on this machine."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import people, results
from maclip_cli.device.options import AllowFallbackOption, BundleOption, DeviceOption, ThreadsOption
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime.tools.bench.result import Bench, Times

FIGURES = (".png", ".svg", ".pdf")
LOG_WIDTH = 120  # what is kept in a file is not to be cut to a terminal's default width


def bench(
    bundle: BundleOption,
    device: DeviceOption = "auto",
    source: Annotated[
        Path | None, typer.Option(metavar="CLIP", help="A video to watch; default: a generated one, 640 x 480.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds for which the stages are measured.")] = 10.0,
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    cold_starts: Annotated[int, typer.Option(min=1, help="How often it is started anew.")] = 5,
    most_classes: Annotated[int, typer.Option(min=1, help="Growth is measured up to so many classes.")] = 10_000,
    most_sources: Annotated[int, typer.Option(min=1, help="Growth is measured up to so many sources.")] = 8,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them here: .png, .svg or .pdf.")] = None,
) -> None:
    """Time of each stage of a step, frames a second, cold start, memory, growth with classes and with sources."""
    from maclip_runtime.tools.bench.plan import CLASS_COUNTS, SOURCE_COUNTS, Plan, run_bench

    if figure is not None and figure.suffix not in FIGURES:
        raise MaclipError("option-invalid", f"{figure} is no figure.", f"End its name in {', '.join(FIGURES)}.")
    if figure is not None:
        from maclip_runtime.tools.bench.figure import require_matplotlib

        require_matplotlib()
    for out in (json_file, figure):
        if out is not None and not out.resolve().parent.is_dir():  # asked before the measuring, which takes minutes
            raise MaclipError(
                "output-unwritable", f"There is no folder {out.parent}.", "Make it, or name another file."
            )
    plan = Plan(
        bundle,
        device,
        source,
        seconds,
        threads,
        allow_fallback,
        cold_starts,
        tuple(count for count in CLASS_COUNTS if count <= most_classes),
        tuple(count for count in SOURCE_COUNTS if count <= most_sources),
    )

    def command(clip: Path, gallery: Path) -> list[str]:
        options = ["--bundle", str(bundle), "--gallery", str(gallery), "--device", device, "--whole-clip", "--json"]
        options += ["--allow-fallback"] if allow_fallback else []
        options += ["--threads", str(threads)] if threads else []
        return [sys.executable, "-m", "maclip_cli.device", "recognize", str(clip), *options]

    with people().status("measuring") as status:
        found = run_bench(plan, command, lambda text: status.update(escape(text)))
    console = results()
    _print(found, console if console.is_terminal else Console(width=LOG_WIDTH, highlight=False))
    try:
        if json_file is not None:
            text = json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False, allow_nan=False)
            json_file.write_text(text + "\n", encoding="utf-8")
        if figure is not None:
            from maclip_runtime.tools.bench.figure import draw

            draw(found, figure)
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"The figures cannot be kept ({error}).", "Name a file that can be written."
        ) from error


def _print(bench: Bench, console: Console) -> None:
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
    streaming = bench.streaming
    title = f"milliseconds a step: {streaming.hop_s:g} s of video, a window of {streaming.window_s:g} s"
    table = Table("stage", title=title)
    for heading in ("p50", "p90", "p99", "share"):
        table.add_column(heading, justify="right")
    for stage, times in streaming.stages.items():
        table.add_row(stage, *_times(times), f"{times.p50 / streaming.step.p50:.1%}")
    table.add_section()
    table.add_row("end to end", *_times(streaming.step), f"{streaming.step.count} steps")
    return table


def _classes(bench: Bench) -> Table:
    table = Table(title="growth with enrolled classes, one clip each")
    for heading in ("classes", "match p50 ms", "p99 ms", "arrays MiB", "grown by MiB", "first read s", "read s"):
        table.add_column(heading, justify="right")
    for one in bench.classes:
        late = f"over {one.limit_s:.0f}"
        table.add_row(
            f"{one.classes:,}",
            *(_form(value, ".3g") for value in (one.match.p50, one.match.p99, one.arrays_mib, one.grown_mib)),
            *(_form(value, ".3f", late) for value in (one.first_load_s, one.load_s)),
        )
    return table


def _sources(bench: Bench) -> Table:
    table = Table(title="growth with sources, watched together by one session")
    for heading in ("sources", "windows/s", "frames/s", "MiB"):
        table.add_column(heading, justify="right")
    for one in bench.sources:
        rates = (f"{one.windows_per_second:.2f}", f"{one.frames_per_second:.0f}")
        table.add_row(str(one.sources), *rates, _form(one.memory_mib, ".0f"))
    return table


def _times(times: Times) -> list[str]:
    return [f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in (times.p50, times.p90, times.p99)]


def _form(value: float | None, form: str, absent: str = "-") -> str:
    return absent if value is None else f"{value:{form}}"
