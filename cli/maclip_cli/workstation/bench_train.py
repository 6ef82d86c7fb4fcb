"""`maclip bench-train`: what four ways to train one backbone cost on this machine, in one run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import people, results
from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

if TYPE_CHECKING:
    from maclip.bench.measure import Result, Row, Spread

LOG_WIDTH = 120


def bench_train(
    backbone: Annotated[str, typer.Option(help="A ViT of open_clip by name, or 'tiny'.")] = "ViT-B-32",
    pretrained: Annotated[str, typer.Option(help="Weights change no cost: 'none', random ones, will do.")] = "none",
    adapted_depth: Annotated[int, typer.Option(min=0, help="K of the one with cached stems.")] = 4,
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip (T).")] = 8,
    way: Annotated[int, typer.Option(min=2, help="Classes an episode.")] = 5,
    shot: Annotated[int, typer.Option(min=1, help="Support clips a class.")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="Query clips a class.")] = 1,
    metric: Annotated[str, typer.Option(help="otam, bimhm, trx or trx-triples.")] = "otam",
    episodes: Annotated[int, typer.Option(min=1, help="Episodes an update; an update is a turn.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each way to train, one after another.")] = 5,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="full, adapters, checkpointed, cached; several can be.")
    ] = None,
    precision: Annotated[str, typer.Option(help="32, or mixed bf16 or fp16.")] = "32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Of each process; default: one a core.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
) -> None:
    """Episodes a second and memory of full fine-tuning, the paper's adapters, checkpointed, and with cached stems."""
    need_training()
    from maclip.bench.measure import run_bench
    from maclip.bench.plan import Settings, chosen
    from maclip.writing import replacing

    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise MaclipError("output-unwritable", f"There is no folder {json_file.parent}.", "Make it, or name another.")
    if json_file is not None and json_file.is_dir():
        raise MaclipError("output-unwritable", f"{json_file} is a folder.", "Name a file to write.")
    machine = _machine()
    settings = Settings(
        backbone, pretrained, frames, way, shot, queries, episodes, rounds, adapted_depth, metric, device, precision,
        threads=threads or machine["cores"],
    )  # fmt: skip
    methods = chosen(settings, tuple(only or ()))
    with people().status("begins") as status:
        result = run_bench(settings, methods, lambda text: status.update(escape(text)))
    console = results()
    # What is kept in a file is not to be cut to a terminal's default width.
    print_result(result, console if console.is_terminal else Console(width=LOG_WIDTH, highlight=False))
    if json_file is not None:
        facts = {"machine": machine, **dataclasses.asdict(result)}
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    failed = [row for row in result.rows if row.failed is not None]
    if failed:
        raise MaclipError(
            "bench-failed",
            f"{len(failed)} of {len(result.rows)} could not be measured, {failed[0].name!r} first: {failed[0].failed}",
            "Close what else runs, measure one at a time with --only, or lower --way, --shot or --frames.",
            EXIT_MACHINE_LACKS,
        )


def _machine() -> dict[str, Any]:
    import maclip
    from maclip_export.bundle.provenance import commit_of, versions
    from maclip_runtime.tools.bench.machine import machine_facts

    commit = commit_of(Path(maclip.__file__).parents[1])
    return {**machine_facts(), "libraries": versions(), "commit": commit}


def print_result(result: Result, console: Console) -> None:
    """The table of the ways to train, and what its columns mean."""
    table = Table(title="training", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for heading in ("tuned M", "episodes/s", "lowest", "highest", "ratio", "MiB", "of full"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows:
        if row.failed is not None:
            table.add_row(f"{escape(row.name)}: {escape(row.failed)}", style="dim")
        else:
            table.add_row(*_cells(row))
    console.print(table)
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
        f"ratio: to full fine-tuning of the same round, the median. MiB: the most that was taken {where}.",
        *(
            [f"Of that {cached.cache_mib:.0f} MiB are stem tokens of the clips here; they grow with clips."]
            if cached
            else []
        ),
    ):
        console.print(line, soft_wrap=True)


def _cells(row: Row) -> list[str]:
    rate = row.episodes_per_second
    assert rate is not None
    assert row.tuned is not None
    return [
        escape(row.name),
        f"{row.tuned / 1e6:.2f}",
        *(f"{value:.3g}" for value in (rate.median, rate.low, rate.high)),
        _median(row.ratio),
        "-" if row.memory_mib is None else f"{row.memory_mib:,.0f}",
        "-" if row.memory_ratio is None else f"{row.memory_ratio:.2f}",
    ]


def _median(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:.2f}"
