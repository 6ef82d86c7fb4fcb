"""`maclip bench`: torch and bundles side by side on this machine, in one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from maclip_cli.waiting import doing
from maclip_cli.workstation.requirements import need_export
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_export.bench.measure import Result, Row
    from maclip_export.bench.plan import ModelSource, Settings
    from maclip_runtime.bundle.opening import Bundle
    from maclip_runtime.tools.measuring.spread import Times

NO_RUN = "none"


def bench(
    run: Annotated[str, typer.Argument(help="A run folder, or 'none' for plain CLIP.")],
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles of that model.")],
    backbone: Annotated[str | None, typer.Option(help="With RUN 'none': default, the first bundle's.")] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Tag, file or 'none'; default: the run's, or the first bundle's.")
    ] = None,
    adapted_depth: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1000,
            help="With RUN 'none': adapted blocks (K); default, the first bundle's adapters, untrained.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000000, help="Single clips for each runner.")] = 30,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Clips in a batch, for throughput.")] = 4,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="For each runner; default: one a core.")] = None,
    no_compile: Annotated[bool, typer.Option("--no-compile", help="Leave torch.compile out.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them here: .png, .svg or .pdf.")] = None,
) -> None:
    """Latency and throughput of torch and of bundles on every engine here, and their share of the machine's peak."""
    need_export()
    from maclip_export.bench.measure import run_bench
    from maclip_export.bench.plan import Settings
    from maclip_runtime.tools.measuring.machine import machine_facts
    from maclip_runtime.tools.measuring.output import require_outputs, results_console, write_json, writing

    if run != NO_RUN and not (backbone is None and adapted_depth is None):
        raise MaclipError(
            "option-invalid",
            "A run has its own --backbone and --adapted-depth.",
            f"Leave them out, or give {NO_RUN} in place of the run.",
        )
    require_outputs(json_file, figure)
    named = _open(bundles)
    source = _source(run, named[0][1], backbone, pretrained, adapted_depth)
    machine = machine_facts()
    settings = Settings(repeats, batch, threads or machine["cores"])
    with doing("loading") as note:
        result = run_bench(source, named, settings, not no_compile, note)
    print_result(result, results_console())
    if json_file is not None:
        facts = {"machine": machine, "model": _model_facts(source, named), **dataclasses.asdict(result)}
        write_json(json_file, facts)
    if figure is not None:
        from maclip_export.bench.figure import draw

        with writing(figure):
            draw(result, _title(source, settings, machine), figure)


def print_result(result: Result, console: Console) -> None:
    """The table of runners, the products that set the peaks, and what the columns mean."""
    from maclip_runtime.tools.measuring.output import table

    steps = any(row.step is not None for row in result.rows)
    numbers = ("best", "p50", "p90", "p99", "ratio", "of peak", "clips/s", *(("ms a step",) if steps else ()))
    headings = ("runner", "precision", *numbers, "MiB", "cosine")
    console.print(table("milliseconds a clip", headings, (_cells(row, steps) for row in result.rows), text_columns=2))
    for row in result.rows:
        if row.failed is not None:
            console.print(f"{escape(row.runner)}, {row.precision}: {escape(row.failed)}", soft_wrap=True)
    settings = result.settings
    for peak in result.peaks:
        shape = " x ".join(map(str, peak.shape))
        console.print(
            f"peak in {peak.precision} on {peak.device}: {peak.flops / 1e9:,.0f} GFLOP/s ({peak.library}, {shape})"
        )
    for line in (
        f"{settings.threads} threads each, {settings.repeats} turns; clips/s: in batches of {settings.batch}; "
        f"a clip is {result.flops / 1e9:,.1f} GFLOP, two for a multiplication with its addition.",
        "ratio: eager torch's median divided by this one's. of peak: the best clip's rate divided by the best "
        "product's. MiB: how much its process grows while it loads and runs single clips. cosine: the lowest with "
        "eager torch's features.",
    ):
        console.print(line, soft_wrap=True)


def _cells(row: Row, steps: bool) -> list[str]:
    cells = [row.runner + ("" if row.device == "cpu" else f" ({row.device})"), row.precision]
    if row.clip is None:
        return cells
    cells += [*_milliseconds(row.clip), _form(row.ratio, "{:.2f}"), _form(row.peak_share, "{:.0%}")]
    cells.append(_form(row.clips_per_second, "{:.2f}"))
    if steps:
        cells.append(_form(row.step.p50 if row.step is not None else None, "{:.1f}"))
    return [*cells, _form(row.memory_mib, "{:.0f}"), _form(row.cosine, "{:.5f}")]


def _milliseconds(times: Times) -> list[str]:
    return [f"{value:.1f}" for value in (times.best, times.p50, times.p90, times.p99)]


def _form(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _open(paths: Sequence[Path]) -> list[tuple[str, Bundle]]:
    """Checked bundles by name: the folder's, or the whole path where two are called alike."""
    from maclip_runtime.bundle.opening import Bundle

    names = [path.resolve().name for path in paths]
    return [
        (name if names.count(name) == 1 else str(path), Bundle.open(path))
        for name, path in zip(names, paths, strict=True)
    ]


def _source(
    run: str, bundle: Bundle, backbone: str | None, pretrained: str | None, adapted_depth: int | None
) -> ModelSource:
    from maclip_export.bench.plan import ModelSource

    manifest = bundle.manifest
    depth = manifest.adapted_depth if adapted_depth is None else adapted_depth
    # A tower without adapted blocks is a side network's: plain CLIP is one graph.
    side = adapted_depth is None and not depth and "tower" in manifest.graphs
    kind = ("blocks", depth) if depth else ("ladder" if side else "none", None)
    if run != NO_RUN:
        return ModelSource(Path(run), manifest.backbone.name, pretrained, manifest.frames, *kind)
    name = backbone or manifest.backbone.name
    return ModelSource(None, name, pretrained or manifest.backbone.pretrained, manifest.frames, *kind)


def _model_facts(source: ModelSource, named: Sequence[tuple[str, Bundle]]) -> dict[str, Any]:
    manifest = named[0][1].manifest
    return {
        "run": source.run.resolve().name if source.run is not None else None,
        "backbone": dataclasses.asdict(manifest.backbone),
        "frames": manifest.frames,
        "adapted_depth": manifest.adapted_depth,
        "contract": manifest.contract,
        "bundles": {name: {"precision": b.manifest.precision, "forms": b.manifest.form_names} for name, b in named},
    }


def _title(source: ModelSource, settings: Settings, machine: dict[str, Any]) -> str:
    adapted = {"blocks": f", {source.adapted_depth} blocks adapted", "ladder": ", a ladder", "none": ""}[
        source.adapters
    ]
    return (
        f"{source.backbone}, {source.frames} frames a clip{adapted}; {settings.threads} threads, {machine['processor']}"
    )
