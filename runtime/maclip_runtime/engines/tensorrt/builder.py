"""Parse a graph and build its engine. Networks are strongly typed: they compute in the graph's own precision."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maclip_runtime.bundle.manifest import GraphSpec
from maclip_runtime.engines.tensorrt.library import Library
from maclip_runtime.engines.tensorrt.profile import Profile
from maclip_runtime.errors import MaclipError, first_line

# Called with the fraction that is done, 0..1, and the builder's name for the current phase.
Progress = Callable[[float, str], None]

DTYPES = {"UINT8": "uint8", "FLOAT": "float32", "HALF": "float16", "BOOL": "bool", "INT32": "int32", "INT64": "int64"}


@dataclass(frozen=True)
class Parsed:
    """A parsed network with its builder and parser, which own its memory and its weights."""

    builder: Any
    network: Any
    parser: Any


def parse_graph(library: Library, file: Path) -> Parsed:
    """Parse an ONNX file and its external weights. Raises `graph-unsupported` with the parser's message."""
    trt = library.module
    builder = trt.Builder(library.logger)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse_from_file(str(file)):
        raise MaclipError(
            "graph-unsupported",
            f"{library.name} {library.version} cannot read {file.name}: {_parser_error(parser)}.",
            "Export the bundle again with this version of maclip, or run it on another --device.",
        )
    return Parsed(builder, network, parser)


def build_engine(
    library: Library,
    file: Path,
    spec: GraphSpec,
    profile: Profile,
    *,
    progress: Progress = lambda fraction, phase: None,
) -> memoryview:
    """Build the engine of one graph, serialized.

    library: the library that builds it.
    file: the graph's ONNX file.
    spec: the graph's inputs and outputs by the manifest.
    profile: the sizes that the engine takes.
    progress: called with the fraction that is done and the phase; an exception from it ends the build and is raised.

    Raises `graph-unsupported` where the library cannot read or build the graph, `bundle-schema` where its inputs or
    outputs differ from `spec`.
    """
    parsed = parse_graph(library, file)
    network = parsed.network
    spec.require(_tensors(network.num_inputs, network.get_input), _tensors(network.num_outputs, network.get_output))
    config = build_config(library, parsed, spec, profile)
    monitor = _monitor(library.module, progress)
    config.progress_monitor = monitor
    library.errors.clear()
    # In another thread, because the library swallows a Ctrl-C that arrives in one of its callbacks.
    with ThreadPoolExecutor(1) as pool:
        try:
            engine = pool.submit(parsed.builder.build_serialized_network, network, config).result()
        except BaseException as error:
            monitor.failure = error  # ends the build at its next step
            raise
    if monitor.failure is not None:
        raise monitor.failure
    if engine is None:
        raise MaclipError(
            "graph-unsupported",
            f"{library.name} {library.version} cannot build {file.name}: {library.last_error()}.",
            "Export the bundle again with this version of maclip, or run it on another --device.",
        )
    return memoryview(engine)


def build_config(library: Library, parsed: Parsed, spec: GraphSpec, profile: Profile) -> Any:
    """The build's configuration: the sizes of `profile`, and the graph's own precision."""
    config = parsed.builder.create_builder_config()
    # TF32, on by default, would round the products of a float32 graph to 10 bits.
    config.clear_flag(library.module.BuilderFlag.TF32)
    shapes = parsed.builder.create_optimization_profile()
    for tensor in spec.inputs:
        shapes.set_shape(tensor.name, *profile.shapes(tensor))
    config.add_optimization_profile(shapes)
    return config


def _strongly_typed(trt: Any) -> int:
    # TensorRT 10 needs the flag; later versions build only strongly typed networks and may lack it.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parser_error(parser: Any) -> str:
    if not parser.num_errors:
        return "no reason given"
    error = parser.get_error(0)
    where = f" (node {error.node_name()}, {error.node_operator()})" if error.node_operator() else ""
    return first_line(error.desc()) + where


def _tensors(count: int, tensor_at: Callable[[int], Any]) -> list[tuple[str, str]]:
    found = [tensor_at(i) for i in range(count)]
    return [(tensor.name, DTYPES.get(tensor.dtype.name, tensor.dtype.name)) for tensor in found]


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Turns the builder's nested phases into one fraction that never decreases."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: list[list[Any]] = []  # outermost first: name, steps, steps done
            self.fraction = 0.0
            self.failure: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases.append([phase_name, max(num_steps, 1), 0])

        def phase_finish(self, phase_name: str) -> None:
            self.phases = [phase for phase in self.phases if phase[0] != phase_name]

        def step_complete(self, phase_name: str, step: int) -> bool:
            for phase in self.phases:
                if phase[0] == phase_name:
                    phase[2] = step + 1
            fraction = 0.0
            for _, steps, done in reversed(self.phases):
                fraction = min((done + fraction) / steps, 1.0)
            self.fraction = max(self.fraction, fraction)
            try:
                progress(self.fraction, phase_name)
            except BaseException as error:  # no exception may pass through the library
                self.failure = error
            return self.failure is None

    return Monitor()
