"""Portable engines inside a bundle: TensorRT for RTX builds them here, without a GPU, for any RTX card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from maclip_runtime.bundle.manifest import EngineFile, GraphSpec
from maclip_runtime.engines.tensorrt.builder import build_engine
from maclip_runtime.engines.tensorrt.engines import refuse_unbuildable
from maclip_runtime.engines.tensorrt.library import RTX_CAPABILITIES, find_library
from maclip_runtime.engines.tensorrt.profile import MaxSizes, profile_of


def write_engines(
    folder: Path,
    graphs: Mapping[str, GraphSpec],
    frames: int,
    max_sizes: MaxSizes | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[EngineFile, ...]:
    """Write `<graph>.rtx.engine` beside each of `graphs` in `folder`, weights included; `frames` T of a clip.

    A computer with the same version of the library starts with these engines. The library generates the code for its
    card when it loads one. Raises `device-missing` if TensorRT for RTX is not installed, and `graph-unsupported`.
    """
    library = find_library("rtx")
    engines = []
    for graph, spec in graphs.items():
        note(f"building {graph} with {library.name} {library.version}")
        profile = profile_of(spec, frames, max_sizes or MaxSizes())
        file = folder / f"{graph}.rtx.engine"
        file.write_bytes(build_engine(library, folder / spec.file, spec, profile))
        engines.append(EngineFile(graph, file.name, library.key, library.version, RTX_CAPABILITIES, str(profile)))
    return tuple(engines)


def check_rtx(precision: str, quantization: str | None) -> None:
    """Check before a long export what `write_engines` needs. Raises `device-missing` and `precision-unsupported`."""
    refuse_unbuildable(precision, quantization)
    find_library("rtx")
