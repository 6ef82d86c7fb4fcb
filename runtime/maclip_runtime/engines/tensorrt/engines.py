"""The engines of a bundle: the portable ones that travel with it, those of the cache, and those still to build."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.bundle.manifest import EngineFile
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.pieces import row_axis
from maclip_runtime.engines.tensorrt.builder import build_engine
from maclip_runtime.engines.tensorrt.cache import EngineCache, EngineKey
from maclip_runtime.engines.tensorrt.library import Library
from maclip_runtime.engines.tensorrt.profile import Limits, Profile, has_room, profile_of
from maclip_runtime.errors import MaclipError

PORTABLE = "portable"

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Built:
    """One graph's engine: `origin` is "built", "cached" or "bundled"; `seconds` is what it took just now."""

    graph: str
    origin: str
    file: Path
    size: int
    seconds: float
    profile: str


def refuse_unbuildable(precision: str, quantization: str | None) -> None:
    """Raises `precision-unsupported` for dynamic int8: its scales are found while running, on CPUs only."""
    if precision == "int8" and quantization == "dynamic":
        raise MaclipError(
            "precision-unsupported",
            "The bundle is int8 with dynamic scales, which are for CPUs: TensorRT wants scales measured beforehand.",
            "Export it with --int8 --quantization static, or with --fp16.",
        )


def build_all(
    bundle: Bundle,
    library: Library,
    capability: str,
    cache: EngineCache,
    limits: Limits,
    watch: Callable[[str, float, str], None] = lambda graph, share, what: None,
) -> Iterator[Built]:
    """Have an engine for every graph of a bundle; what the bundle or the cache holds is not built again.

    `capability` is the GPU's compute capability, or "portable". `watch` is told graph, share 0..1 and phase.
    Raises `precision-unsupported`, `graph-unsupported` and `cache-unwritable`.
    """
    manifest = bundle.manifest
    refuse_unbuildable(manifest.precision, manifest.quantization)
    for graph, spec in manifest.graphs.items():
        begun = time.monotonic()
        profile = profile_of(spec, manifest.frames, limits)
        key = engine_key(bundle, graph, library, capability, profile)
        file, origin = cache.path(key), "cached"
        listed = _bundled(bundle, graph, library, {axis.name: axis.most for axis in profile.axes})
        if listed is not None:
            file, origin = bundle.path / listed.file, "bundled"
            size = file.stat().st_size
        elif (kept := cache.size(key)) is not None:
            size = kept
        else:
            origin = "built"

            def tell(share: float, what: str, graph: str = graph) -> None:
                watch(graph, share, what)

            made = build_engine(library, bundle.graph_file(graph), spec, profile, tell)
            cache.put(key, made)
            size = len(made)
        yield Built(graph, origin, file, size, time.monotonic() - begun, str(profile))


def engine_for(
    bundle: Bundle, graph: str, library: Library, capability: str, cache: EngineCache, sizes: dict[str, int]
) -> bytes | memoryview:
    """The engine to run `graph` with: the bundle's, else the cache's, else one built now and kept.

    Rows are run in pieces, so only the other sizes of `sizes` count. Raises `engine-too-small` where the gallery
    has more classes than an engine built with the usual limits takes.
    """
    spec = bundle.manifest.graphs[graph]
    wanted = {axis: size for axis, size in sizes.items() if axis != row_axis(spec)}
    listed = _bundled(bundle, graph, library, wanted)
    if listed is not None:
        return (bundle.path / listed.file).read_bytes()
    profile = profile_of(spec, bundle.manifest.frames, Limits())
    key = engine_key(bundle, graph, library, capability, profile)
    if (engine := cache.find(key, wanted)) is not None:
        return engine
    if not profile.covers(wanted):
        raise MaclipError(
            "engine-too-small",
            f"The gallery has {max(wanted.values())} classes, more than an engine is built for ({Limits().classes}).",
            f"maclip-run build {bundle.path} --device {library.device} --max-classes N",
        )
    log.info("building the %s engine with %s (`maclip-run build` does it ahead of time)", graph, library.name)
    made = build_engine(library, bundle.graph_file(graph), spec, profile)
    try:
        cache.put(key, made)
    except MaclipError as error:
        log.warning("%s", error.message)  # it runs all the same
    return made


def engine_key(bundle: Bundle, graph: str, library: Library, capability: str, profile: Profile) -> EngineKey:
    """What the engine of one graph depends on."""
    return EngineKey(
        graph=graph,
        graph_digest=bundle.graph_digest(graph),
        library=library.key,
        library_version=library.version,
        compute_capability=capability,
        precision=bundle.manifest.precision,
        profile=str(profile),
    )


def _bundled(bundle: Bundle, graph: str, library: Library, sizes: dict[str, int]) -> EngineFile | None:
    """The bundle's own engine for `graph`, where this very version of the library made it and it has room."""
    made_by = (graph, library.key, library.version)
    for engine in bundle.manifest.engines:
        found = (engine.graph, engine.library, engine.library_version)
        if found == made_by and engine.file in bundle.manifest.files and has_room(engine.profile, sizes):
            return engine
    return None
