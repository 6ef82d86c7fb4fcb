"""`maclip-run build`: time the engines of this machine on a bundle, and compile its graphs ahead of time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from maclip_cli.console import people, print_json, results
from maclip_cli.device.options import BundleArgument, JsonOption, TrustEnginesOption
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime.engines.tensorrt.engines import Built


def build(
    bundle: BundleArgument,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="auto (times the engines here, which every --device auto follows, and compiles for the fastest), "
            "openvino, tensorrt (this machine's GPU) or rtx (any RTX card; needs no GPU here).",
        ),
    ] = "auto",
    max_clips: Annotated[int, typer.Option(min=1, help="TensorRT: clips that run at once; more are split.")] = 8,
    max_classes: Annotated[int, typer.Option(min=1, help="TensorRT: largest number of classes in a gallery.")] = 10_000,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="MACLIP_CACHE", help="Where engines are stored; default: ~/.cache/maclip."),
    ] = None,
    trust_engines: TrustEnginesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compile a bundle's graphs for this machine and keep them; those that exist are not compiled again."""
    from maclip_runtime.bundle.opening import Bundle
    from maclip_runtime.engines.base import TENSORRT_DEVICES, is_openvino
    from maclip_runtime.engines.forms import in_best_form
    from maclip_runtime.engines.tensorrt.cache import EngineCache
    from maclip_runtime.engines.tensorrt.cuda import Cuda
    from maclip_runtime.engines.tensorrt.engines import PORTABLE, build_all
    from maclip_runtime.engines.tensorrt.library import find_library
    from maclip_runtime.engines.tensorrt.profile import MaxSizes

    if device == "auto" or is_openvino(device):
        from maclip_cli.device.prepare import prepare

        prepare(Bundle.open(bundle, trust_engines=trust_engines), device, cache, as_json)
        return
    if device not in TENSORRT_DEVICES:
        raise MaclipError(
            "device-unknown",
            f"The device {device!r} has no engines to build.",
            f"Use auto, openvino, {' or '.join(TENSORRT_DEVICES)}; other devices run the bundle as it is.",
        )
    library = find_library(device)
    capability = PORTABLE if library.portable else Cuda(device).capability
    opened = in_best_form(Bundle.open(bundle, trust_engines=trust_engines), device)
    console = people()
    target = "for RTX cards from Ampere on; the card compiles the last step when it loads an engine"
    if not library.portable:
        target = f"for this GPU (compute capability {capability})"
    console.print(escape(f"{library.name} {library.version}, {target}"), soft_wrap=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[phase]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    done: list[Built] = []
    with bar as progress:
        tasks: dict[str, TaskID] = {}

        def update(graph: str, fraction: float, phase: str) -> None:
            if graph not in tasks:
                tasks[graph] = progress.add_task(f"building {graph}", total=1.0, phase="")
            progress.update(tasks[graph], completed=fraction, phase=escape(phase))

        sizes = MaxSizes(max_clips, max_classes)
        for one in build_all(opened, library, capability, EngineCache(cache), max_sizes=sizes, progress=update):
            done.append(one)
            if one.graph in tasks:
                progress.remove_task(tasks[one.graph])
            if one.origin == "built":
                console.print(escape(f"built {one.graph}: {one.size / 2**20:.1f} MiB in {one.seconds:.1f} s"))
            if as_json:
                facts = {"library": library.key, "library_version": library.version, "compute_capability": capability}
                print_json({**dataclasses.asdict(one), "file": str(one.file), **facts})
    if not as_json:
        _print(done)


def _print(done: list[Built]) -> None:
    table = Table("graph", "engine", "MiB", "seconds", "sizes (min:opt:max)")
    for one in done:
        table.add_row(
            escape(one.graph), one.origin, f"{one.size / 2**20:.1f}", f"{one.seconds:.1f}", escape(one.profile)
        )
    results().print(table)
    for folder in sorted({str(one.file.parent) for one in done}):
        results().print(escape(f"in {folder}"), soft_wrap=True)
