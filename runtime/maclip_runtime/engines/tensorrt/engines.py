"""The engines of a bundle: portable ones that it contains, those in the cache, and those still to build."""

from __future__ import annotations

import functools
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
from maclip_runtime.engines.tensorrt.profile import MaxSizes, Profile, covers, profile_of
from maclip_runtime.errors import MaclipError

PORTABLE = "portable"

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Built:
    """The engine of one graph.

    `origin` is "built", "cached" or "bundled", `size` its bytes, `seconds` the time it took just now, `profile` the
    sizes it takes, as text.
    """

    graph: str
    origin: str
    file: Path
    size: int
    seconds: float
    profile: str


def refuse_unbuildable(precision: str, quantization: str | None) -> None:
    """Raises `precision-unsupported` for dynamic int8, which only CPUs run."""
    if precision == "int8" and quantization == "dynamic":
        raise MaclipError(
            "precision-unsupported",
            "The bundle is int8 with dynamic quantization, which only CPUs run; TensorRT needs static quantization.",
            "Export it with --int8 --quantization both, or with --fp16.",
        )


def build_all(
    bundle: Bundle,
    library: Library,
    capability: str,
    cache: EngineCache,
    *,
    max_sizes: MaxSizes | None = None,
    progress: Callable[[str, float, str], None] = lambda graph, fraction, phase: None,
) -> Iterator[Built]:
    """Build the engines of all graphs of a bundle; those in the bundle or the cache are not built again.

    bundle: an opened bundle.
    library: the library that builds.
    capability: the GPU's compute capability, like "8.6", or PORTABLE.
    cache: where engines are kept.
    max_sizes: the largest sizes that the engines take; default: `MaxSizes()`.
    progress: called with the graph, the fraction that is done, 0..1, and the phase.

    Raises `precision-unsupported`, `graph-unsupported` and `cache-unwritable`.
    """
    manifest = bundle.manifest
    refuse_unbuildable(manifest.precision, manifest.quantization)
    for graph, spec in manifest.graphs.items():
        start = time.monotonic()
        profile = profile_of(spec, manifest.frames, max_sizes or MaxSizes())
        key = engine_key(bundle, graph, library, capability, profile)
        file, origin = cache.path(key), "cached"
        listed = _bundled(bundle, graph, library, {axis.name: axis.max for axis in profile.axes})
        if listed is not None:
            file, origin = bundle.path / listed.file, "bundled"
            size = file.stat().st_size
        elif (cached := cache.size(key)) is not None:
            size = cached
        else:
            origin = "built"
            engine = build_engine(
                library, bundle.graph_file(graph), spec, profile, progress=functools.partial(progress, graph)
            )
            cache.put(key, engine)
            size = len(engine)
        yield Built(graph, origin, file, size, time.monotonic() - start, str(profile))


def engine_for(
    bundle: Bundle, graph: str, library: Library, capability: str, cache: EngineCache, sizes: dict[str, int]
) -> bytes | memoryview:
    """The serialized engine of one graph: the bundle's, else the cache's, else one that is built now and cached.

    `sizes` are the sizes of the inputs' dynamic axes. Rows run in pieces, so only the other axes must fit. Raises
    `engine-too-small` where the gallery has more classes than the default profile covers.
    """
    spec = bundle.manifest.graphs[graph]
    wanted = {axis: size for axis, size in sizes.items() if axis != row_axis(spec)}
    listed = _bundled(bundle, graph, library, wanted)
    if listed is not None:
        return (bundle.path / listed.file).read_bytes()
    profile = profile_of(spec, bundle.manifest.frames, MaxSizes())
    key = engine_key(bundle, graph, library, capability, profile)
    if (engine := cache.find(key, wanted)) is not None:
        return engine
    if not profile.covers(wanted):
        raise MaclipError(
            "engine-too-small",
            f"The gallery has {max(wanted.values())} classes, an engine takes {MaxSizes().classes} by default.",
            f"Build a larger one: maclip-run build {bundle.path} --device {library.device} --max-classes N",
        )
    log.info("building the %s engine with %s (`maclip-run build` does this ahead of time)", graph, library.name)
    built = build_engine(library, bundle.graph_file(graph), spec, profile)
    try:
        cache.put(key, built)
    except MaclipError as error:
        log.warning("%s", error.message)  # the engine still runs
    return built


def engine_key(bundle: Bundle, graph: str, library: Library, capability: str, profile: Profile) -> EngineKey:
    """The key of one graph's engine in a cache."""
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
    """The bundle's own engine of `graph`, if this version of the library built it and it covers `sizes`.

    It must be trusted too: to deserialize an engine runs what its maker wrote.
    """
    wanted = (graph, library.key, library.version)
    for engine in bundle.manifest.engines:
        found = (engine.graph, engine.library, engine.library_version)
        if found == wanted and engine.file in bundle.manifest.files and covers(engine.profile, sizes):
            if bundle.trusts_engines:
                return engine
            log.warning(
                "the bundle's own %s engine is not loaded, because its signature was not verified: "
                "give --trust-engines if you know where the bundle comes from",
                graph,
            )
    return None
