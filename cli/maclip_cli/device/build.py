"""`maclip-run build`: compile a bundle's graphs for an NVIDIA GPU ahead of time, so that no start waits for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from maclip_cli.console import people, print_json, results
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime.engines.tensorrt.engines import Built

BUILD_DEVICES = ("tensorrt", "rtx")


def build(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `maclip export` wrote.")],
    device: Annotated[
        str, typer.Option("--device", help="tensorrt (this machine's GPU) or rtx (any RTX card; needs no GPU here).")
    ] = "tensorrt",
    max_clips: Annotated[int, typer.Option(min=1, help="Clips that are run at once; more go in turns.")] = 8,
    max_classes: Annotated[int, typer.Option(min=1, help="Classes that a gallery may have.")] = 10_000,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="MACLIP_CACHE", help="Where engines are kept; default: ~/.cache/maclip."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines on stdout and nothing else.")] = False,
) -> None:
    """Build and keep the engines of a bundle; what is there already is not built again."""
    from maclip_runtime.bundle.opening import Bundle
    from maclip_runtime.engines.tensorrt.cache import EngineCache
    from maclip_runtime.engines.tensorrt.cuda import Cuda
    from maclip_runtime.engines.tensorrt.engines import PORTABLE, build_all
    from maclip_runtime.engines.tensorrt.library import find_library
    from maclip_runtime.engines.tensorrt.profile import Limits

    if device not in BUILD_DEVICES:
        raise MaclipError(
            "device-unknown",
            f"Nothing is built for the device {device!r}.",
            f"Use one of {', '.join(BUILD_DEVICES)}; the others read the bundle as it is.",
        )
    library = find_library(device)
    capability = PORTABLE if library.portable else Cuda(device).capability
    opened = Bundle.open(bundle)
    console = people()
    where = "for RTX cards from Ampere on; the last step is done on the card when it starts"
    if not library.portable:
        where = f"for this GPU (compute capability {capability})"
    console.print(escape(f"{library.name} {library.version}, {where}"), soft_wrap=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    done: list[Built] = []
    with bar as progress:
        tasks: dict[str, TaskID] = {}

        def watch(graph: str, share: float, what: str) -> None:
            if graph not in tasks:
                tasks[graph] = progress.add_task(f"building {graph}", total=1.0, what="")
            progress.update(tasks[graph], completed=share, what=escape(what))

        for one in build_all(opened, library, capability, EngineCache(cache), Limits(max_clips, max_classes), watch):
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
    table = Table("graph", "engine", "MiB", "seconds", "sizes (least:usual:most)")
    for one in done:
        table.add_row(
            escape(one.graph), one.origin, f"{one.size / 2**20:.1f}", f"{one.seconds:.1f}", escape(one.profile)
        )
    results().print(table)
    for folder in sorted({str(one.file.parent) for one in done}):
        results().print(escape(f"in {folder}"), soft_wrap=True)
