"""`maclip export`: write a run, or plain CLIP, as a bundle that has been compared with torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip.config.model import MAX_FRAMES
from maclip_cli.console import people
from maclip_cli.waiting import doing
from maclip_cli.workstation.requirements import need_export
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip.model.maclip import MaClip
    from maclip_export.report import Report
    from maclip_runtime.bundle.figures import Pairs

MIB = 2**20


def export(
    run: Annotated[Path | None, typer.Argument(help="The run folder of maclip train.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="BUNDLE", help="The new bundle folder.")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit linear layers, for CPUs and small GPUs.")] = False,
    quantization: Annotated[
        str,
        typer.Option(help="With --int8: dynamic, static (QDQ, which TensorRT reads), or both, sharing their weights."),
    ] = "both",
    names: Annotated[
        list[str] | None,
        typer.Option(help="More action names: a file, or kinetics700, ssv2, hmdb51 or ucf101. Repeatable."),
    ] = None,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder", help="Let the device encode any name (adds text.onnx).")
    ] = False,
    rtx: Annotated[bool, typer.Option("--rtx", help="Add engines for RTX cards; building them needs no GPU.")] = False,
    triton: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write a model repository for a Triton server.")
    ] = None,
    gate_data: Annotated[
        Path | None, typer.Option(help="Clips to compare with torch on; default: the run's, else generated ones.")
    ] = None,
    gate_clips: Annotated[int, typer.Option(min=2, max=1000, help="Clips a class to compare on: one is enrolled.")] = 4,
    calibration_data: Annotated[
        Path | None,
        typer.Option(help="Clips for static int8; default: the run's training classes, else generated."),
    ] = None,
    allow_loss: Annotated[
        bool,
        typer.Option("--allow-loss", help="Write the bundle even if it is worse than allowed; the manifest says so."),
    ] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Export plain CLIP, without a run.")] = False,
    backbone: Annotated[str, typer.Option(help="With --frozen: a ViT of open_clip by name, or 'tiny'.")] = "ViT-B-16",
    pretrained: Annotated[
        str | None,
        typer.Option(help="With --frozen: tag, file or 'none'. With RUN: where its weights are now."),
    ] = None,
    frames: Annotated[int, typer.Option(min=2, max=MAX_FRAMES, help="With --frozen: frames a clip (T).")] = 8,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
) -> None:
    """Write a bundle: ONNX graphs, names and manifest. Each graph is compared with torch on real frames."""
    need_export()
    if out is None or (run is None) != frozen:
        fix = "maclip export RUN -o BUNDLE, or maclip export --frozen --backbone NAME -o BUNDLE."
        raise MaclipError("option-invalid", "Give a RUN or --frozen, not both, and -o.", fix)
    if fp16 and int8:
        raise MaclipError("option-invalid", "A bundle is --fp16 or --int8, not both.", "Export twice.")
    from maclip_export import ExportOptions, read_names
    from maclip_export import export as export_bundle
    from maclip_export.api import check_places

    options = ExportOptions(
        precision="fp16" if fp16 else "int8" if int8 else "float32",
        quantization=quantization,
        names=tuple(name for one in names or [] for name in read_names(one)),
        text_encoder=text_encoder,
        rtx=rtx,
        triton=triton,
        gate_data=gate_data,
        gate_clips=gate_clips,
        calibration_data=calibration_data,
        allow_loss=allow_loss,
        force=force,
        pretrained=pretrained if run is not None else None,
    )
    check_places(out, options)
    console = people()
    with doing("loading") as note:
        source = run if run is not None else _plain_clip(backbone, pretrained, frames)
        report = export_bundle(source, out, options, note=note)
    print_report(report, out, console)


def _plain_clip(backbone: str, pretrained: str | None, frames: int) -> MaClip:
    import maclip

    return maclip.build(backbone, pretrained or "openai", frames=frames, adapters="none", prototype="none")


def print_report(report: Report, out: Path, console: Console) -> None:
    """Print the table of graphs, the int8 forms, accuracy, notes and the next command."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("graph", "MiB", "weights", "products", "nodes", "made in", "difference", "cosine"):
        table.add_column(heading, no_wrap=heading in ("graph", "difference"))
    for row in report.graphs:
        table.add_row(
            row.graph,
            f"{row.size / MIB:.1f}",
            _share(row.census.weights),
            ", ".join(f"{count} {kind}" for kind, count in row.census.products.items()) or "none",
            str(row.census.nodes),
            f"{row.seconds:.1f} s",
            _limited(f"{row.gate.relative:.1e}", row.gate.relative_limit, "{:.0e}"),
            _limited(f"{row.gate.cosine:.6f}", row.gate.cosine_limit, "{:g}") if row.gate.is_checked else "-",
        )
    console.print(escape(f"{out}: largest difference from torch in float32 (and the limit)"), soft_wrap=True)
    console.print(table)
    for one in report.candidates:
        kept = "" if one.kept else "; left out: beyond the limits"
        console.print(f"int8 {one.form}: worst cosine {one.cosine:.4f}{kept}")
    if report.manifest.pairs is not None:
        console.print(escape(pairs_in_words(report.manifest.pairs)), soft_wrap=True)
    found = report.accuracy
    if found is not None:
        console.print(
            f"{found.way}-way {found.shot}-shot on {found.measured_on}, {found.episodes:,} episodes: torch "
            f"{found.torch:.1%}, bundle {found.bundle:.1%}; loss {100 * found.loss:+.2f} ± {100 * found.interval:.2f} "
            f"points ({100 * found.limit:g} allowed), probabilities differ by up to {found.probability:.1e}",
            soft_wrap=True,
        )
    for sentence in report.notes:
        console.print(escape(sentence), soft_wrap=True)
    if report.manifest.loss_allowed:
        console.print("Limits were not enforced (--allow-loss), and the manifest records that.")
    console.print(
        f"Next: maclip-run enroll NAME CLIP... --bundle {escape(str(out))} --gallery gallery.db", soft_wrap=True
    )


def pairs_in_words(pairs: Pairs) -> str:
    """What each pair took, the fastest first, and the form that each engine opens."""
    from maclip_runtime.bundle.figures import in_ms

    took = ", ".join(f"{pair.engine} {pair.form} {in_ms(pair.step_ms)}" for pair in pairs.measured)
    best = ", ".join(f"{engine} opens {form}" for engine, form in pairs.best.items())
    return f"milliseconds a step on {pairs.machine}: {took}; {best}"


def _share(weights: dict[str, int]) -> str:
    """Types of weights by their share of the bytes, as "int8 97%, float32 3%"; sizes and indices are left out."""
    floats = {kind: size for kind, size in weights.items() if kind != "int64"}
    total = sum(floats.values())
    ordered = sorted(floats.items(), key=lambda item: -item[1])
    return ", ".join(f"{kind} {size / total:.0%}" for kind, size in ordered if size) or "none"


def _limited(figure: str, limit: float | None, form: str) -> str:
    return figure if limit is None else f"{figure} ({form.format(limit)})"
