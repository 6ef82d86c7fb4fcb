"""`maclip bench-train`: what five ways to train one backbone cost on this machine, in one run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from maclip.config.model import MAX_FRAMES
from maclip_cli.waiting import doing
from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

if TYPE_CHECKING:
    from maclip.bench.measure import Result, Row
    from maclip_runtime.tools.measuring.spread import Spread


def bench_train(
    backbone: Annotated[str, typer.Option(help="A ViT of open_clip by name, or 'tiny'.")] = "ViT-B-32",
    pretrained: Annotated[str, typer.Option(help="Weights do not change the cost: 'none' (random) will do.")] = "none",
    adapted_depth: Annotated[
        int, typer.Option(min=0, max=1000, help="Adapted blocks (K) of the method with cached stems.")
    ] = 4,
    frames: Annotated[int, typer.Option(min=2, max=MAX_FRAMES, help="Frames a clip (T).")] = 8,
    way: Annotated[int, typer.Option(min=2, max=1000, help="Classes an episode.")] = 5,
    shot: Annotated[int, typer.Option(min=1, max=1000, help="Support clips a class.")] = 1,
    queries: Annotated[int, typer.Option(min=1, max=1000, help="Query clips a class.")] = 1,
    metric: Annotated[str, typer.Option(help="otam, bimhm, trx or trx-triples.")] = "otam",
    episodes: Annotated[int, typer.Option(min=1, max=10000, help="Episodes per update; a turn is one update.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, max=100000, help="Turns of each method.")] = 5,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="full, adapters, checkpointed, cached or ladder; may be repeated."),
    ] = None,
    precision: Annotated[str, typer.Option(help="32, or mixed bf16 or fp16.")] = "32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Of each process; default: one a core.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
) -> None:
    """Episodes a second and memory of full fine-tuning, the paper's adapters (checkpointed, cached) and a ladder."""
    need_training()
    from maclip.bench.measure import run_bench
    from maclip.bench.plan import Settings, chosen
    from maclip_runtime.tools.measuring.machine import machine_facts
    from maclip_runtime.tools.measuring.output import require_outputs, results_console, write_json

    require_outputs(json_file)
    machine = machine_facts()
    settings = Settings(
        backbone, pretrained, frames, way, shot, queries, episodes, rounds, adapted_depth, metric, device, precision,
        threads=threads or machine["cores"],
    )  # fmt: skip
    methods = chosen(settings, tuple(only or ()))
    with doing("drawing clips") as note:
        result = run_bench(settings, methods, note)
    print_result(result, results_console())
    if json_file is not None:
        write_json(json_file, {"machine": machine, **dataclasses.asdict(result)})
    failed = [row for row in result.rows if row.failed is not None]
    if failed:
        raise MaclipError(
            "bench-failed",
            f"{len(failed)} of {len(result.rows)} could not be measured, {failed[0].name!r} first: {failed[0].failed}",
            "Close what else runs, measure one at a time with --only, or lower --way, --shot or --frames.",
            EXIT_MACHINE_LACKS,
        )


def print_result(result: Result, console: Console) -> None:
    """The table of methods, and what its columns mean."""
    from maclip_runtime.tools.measuring.output import table

    headings = ("", "tuned M", "episodes/s", "lowest", "highest", "ratio", "MiB", "of full")
    console.print(table("training", headings, map(_cells, result.rows)))
    settings = result.settings
    measured = next((row for row in result.rows if row.device is not None), None)
    where = "of the process beyond Python and its libraries"
    if measured is not None and measured.device != "cpu":
        where = "of the GPU by tensors"
    cached = next((row for row in result.rows if row.cache_mib), None)
    for line in (
        f"{settings.backbone}, {settings.frames} frames, {settings.way}-way {settings.shot}-shot, {settings.queries} "
        f"queries a class, {settings.metric}; {settings.rounds} rounds of {settings.episodes} episodes; "
        f"{settings.threads} threads, precision {settings.precision}",
        f"ratio: to full fine-tuning in the same round, median. MiB: peak memory {where}.",
        *(
            [f"{cached.cache_mib:.0f} MiB of that are stem tokens, which grow with the number of clips."]
            if cached
            else []
        ),
    ):
        console.print(line, soft_wrap=True)


def _cells(row: Row) -> list[str]:
    if row.failed is not None:
        return [f"{row.name}: {row.failed}"]
    rate = row.episodes_per_second
    assert rate is not None
    assert row.tuned is not None
    return [
        row.name,
        f"{row.tuned / 1e6:.2f}",
        *(f"{value:.3g}" for value in (rate.median, rate.low, rate.high)),
        _median(row.ratio),
        "-" if row.memory_mib is None else f"{row.memory_mib:,.0f}",
        "-" if row.memory_ratio is None else f"{row.memory_ratio:.2f}",
    ]


def _median(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:.2f}"
