"""`maclip export`: a run, or plain CLIP, as a bundle that has been measured against torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.workstation.requirements import need_export
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip.model.maclip import MaClip
    from maclip.runs import RunConfig
    from maclip_export.bundle.writer import Material, Report
    from maclip_export.gate.trial import TrialClips
    from maclip_export.options import ExportOptions

MIB = 2**20


def export(
    run: Annotated[Path | None, typer.Argument(help="What maclip train made.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="BUNDLE", help="The new bundle folder.")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit linear layers, for CPUs and small GPUs.")] = False,
    quantization: Annotated[
        str, typer.Option(help="Of --int8: dynamic, static (QDQ, which TensorRT reads), or auto: the better one here.")
    ] = "auto",
    names: Annotated[
        list[str] | None,
        typer.Option(help="More action names: a file, or kinetics700, ssv2, hmdb51, ucf101. Can be given again."),
    ] = None,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder", help="Let the device embed any name (adds text.onnx).")
    ] = False,
    rtx: Annotated[bool, typer.Option("--rtx", help="Add engines for RTX cards, built here, without a GPU.")] = False,
    triton: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write a model repository for a Triton server.")
    ] = None,
    gate_data: Annotated[
        Path | None, typer.Option(help="Clips the gate looks at; else the run's, else generated ones.")
    ] = None,
    gate_clips: Annotated[int, typer.Option(min=2, help="Clips a class at the gate: one is shown, others asked.")] = 4,
    calibration_data: Annotated[
        Path | None, typer.Option(help="Clips for static int8; else the run's training classes, else generated ones.")
    ] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Write the bundle even where the gate refuses; the loss is on record.")
    ] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Plain CLIP with nothing trained; needs no run.")] = False,
    backbone: Annotated[str, typer.Option(help="With --frozen: a ViT of open_clip by name, or 'tiny'.")] = "ViT-B-16",
    pretrained: Annotated[
        str | None, typer.Option(help="With --frozen: tag, file or 'none'. With a run: where its weights are now.")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="With --frozen: frames a clip (T).")] = 8,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Write a bundle: ONNX graphs, frozen names and manifest, each graph measured against torch on real frames."""
    need_export()
    if out is None or (run is None) != frozen:
        fix = "maclip export RUN -o BUNDLE, or maclip export --frozen --backbone NAME -o BUNDLE."
        raise MaclipError("option-invalid", "Give a RUN or --frozen, not both, and -o.", fix)
    if fp16 and int8:
        raise MaclipError("option-invalid", "A bundle is --fp16 or --int8, not both.", "Export twice.")
    from maclip_export.bundle.folders import refuse_existing
    from maclip_export.bundle.names import default_names, read_names, vocabulary
    from maclip_export.bundle.writer import Material, write_bundle
    from maclip_export.options import ExportOptions
    from maclip_export.targets.triton import write_repository

    precision = "fp16" if fp16 else "int8" if int8 else "float32"
    options = ExportOptions(precision, quantization, allow_loss, text_encoder, rtx, force)
    extra = [name for one in names or [] for name in read_names(one)]
    for folder in (out, triton):
        if folder is not None:
            refuse_existing(folder, force)
    if triton is not None and _overlap(out.resolve(), triton.resolve()):
        raise MaclipError("option-invalid", f"{triton} and {out} lie in one another.", "Give each a folder of its own.")
    console = Console(stderr=True)
    places = _Places(gate_data, gate_clips, calibration_data)
    with console.status("loading") as status:
        if run is not None:
            model, material = _of_run(run, pretrained, extra, places, options)
        else:
            model = _plain_clip(backbone, pretrained, frames)
            named = vocabulary(None, extra or default_names(backbone))
            material = Material(named, *places.read(model, options, None))
        report = write_bundle(model, out, material, options, lambda text: status.update(escape(text)))
        if triton is not None:
            write_repository(out, triton, force)
    print_report(report, out, console)


def _overlap(a: Path, b: Path) -> bool:
    """Whether one folder is the other or lies in it: a bundle holds nothing that its manifest does not list."""
    return a.is_relative_to(b) or b.is_relative_to(a)


@dataclass(frozen=True)
class _Places:
    """Where the clips are that an export is tried on."""

    gate: Path | None
    gate_clips: int
    calibration: Path | None

    def read(
        self, model: MaClip, options: ExportOptions, run: RunConfig | None
    ) -> tuple[TrialClips, TrialClips | None]:
        """The gate's clips, and those to calibrate on where that is needed; of the data of `run`, if still there."""
        from maclip.data.dataset import open_data
        from maclip.data.split_lists import open_classes
        from maclip_export.gate.trial import calibration_clips, drawn_trial, gate_clips

        # As training divided it, or what it learnt from would be tried.
        own = open_classes(Path(run.data), run.lists) if run is not None and Path(run.data).is_dir() else None
        gate = open_data(self.gate) if self.gate else own
        trial = gate_clips(gate, model, self.gate_clips) if gate else drawn_trial(model, self.gate_clips)
        if options.precision != "int8" or options.quantization == "dynamic":
            return trial, None
        calibration = open_data(self.calibration) if self.calibration else own or gate
        if calibration is None:
            return trial, drawn_trial(model, seed=1)
        return trial, calibration_clips(calibration, model)


def _of_run(
    run: Path, pretrained: str | None, extra: list[str], places: _Places, options: ExportOptions
) -> tuple[MaClip, Material]:
    from maclip_export.bundle.names import vocabulary
    from maclip_export.bundle.provenance import load_run
    from maclip_export.bundle.writer import Material

    model, config, origin = load_run(run, pretrained)
    trial, calibration = places.read(model, options, config)
    limit = config.chosen.limit if config.chosen is not None else None
    return model, Material(vocabulary(config.names, extra), trial, calibration, limit, origin)


def _plain_clip(backbone: str, pretrained: str | None, frames: int) -> MaClip:
    import maclip

    return maclip.build(backbone, pretrained or "openai", frames=frames, adapters="none", prototype="none")


def print_report(report: Report, out: Path, console: Console) -> None:
    """The table of graphs, then accuracy, int8 forms and what to do next."""
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
            _limited(f"{row.gate.cosine:.6f}", row.gate.cosine_limit, "{:g}"),
        )
    console.print(
        escape(f"{out}: differences to torch in float32, the worst found (and what is allowed)"), soft_wrap=True
    )
    console.print(table)
    for one in report.candidates:
        chosen = "chosen" if one is report.candidates[0] else "not chosen"
        passes = "" if one.passes else ", beyond the limits"
        console.print(
            f"int8 {one.form}: {one.clip_ms:.1f} ms a clip here, worst cosine {one.cosine:.4f}{passes}; {chosen}"
        )
    found = report.accuracy
    if found is None:
        console.print("Accuracy was not compared: that takes two classes of two clips, see --gate-data.")
    else:
        console.print(
            f"{found.way}-way {found.shot}-shot on {found.measured_on}, {found.episodes:,} episodes: torch "
            f"{found.torch:.1%}, bundle {found.bundle:.1%}; loss {100 * found.loss:+.2f} ± {100 * found.interval:.2f} "
            f"points ({100 * found.limit:g} allowed), probabilities differ by up to {found.probability:.1e}",
            soft_wrap=True,
        )
    if report.manifest.loss_allowed:
        console.print("The gate's limits were not enforced (--allow-loss); the manifest says so.")
    console.print(
        f"Next: maclip-run enroll NAME CLIP... --bundle {escape(str(out))} --gallery gallery.db", soft_wrap=True
    )


def _share(weights: dict[str, int]) -> str:
    """Types of constants by their share of the bytes: "int8 97 %, float32 3 %"; sizes and indices are left out."""
    floats = {kind: size for kind, size in weights.items() if kind != "int64"}
    total = sum(floats.values())
    ordered = sorted(floats.items(), key=lambda item: -item[1])
    return ", ".join(f"{kind} {size / total:.0%}" for kind, size in ordered if size) or "none"


def _limited(figure: str, limit: float | None, form: str) -> str:
    return figure if limit is None else f"{figure} ({form.format(limit)})"
