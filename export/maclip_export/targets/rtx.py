"""Portable engines that travel with a bundle: TensorRT for RTX builds them here, without a GPU, for any RTX card."""

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

    A desktop whose library has the same version starts with them and optimises nothing; the last step, code for
    the very card, the library does each time it loads one. Raises `device-missing` where TensorRT for RTX is not
    installed and `graph-unsupported`.
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
    """Raise before a long export what `write_engines` would after: `device-missing`, `precision-unsupported`.

    Int8 whose form is still to be measured ("auto") may turn out dynamic, and is refused too.
    """
    refuse_unbuildable(precision, "dynamic" if quantization == "auto" else quantization)
    find_library("rtx")
