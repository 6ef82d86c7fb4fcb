"""Runs the bundle's graphs with OpenVINO on the processor, in bfloat16 where that pays and does no harm."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial
from typing import Any

import numpy as np

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import Array, device_missing, first_line, usable_cores
from maclip_runtime.engines.pieces import rows_at_once, run_in_pieces
from maclip_runtime.errors import MaclipError

# Where nearly all the work is. Prototypes and distances are a few per cent of it and decide: they stay in float32.
HALF_GRAPHS = ("visual", "stem", "tower")
OPENVINO_DTYPES = {"u8": "uint8", "f32": "float32", "boolean": "bool", "i64": "int64"}


class OpenVinoEngine:
    """The graphs of one bundle, compiled by OpenVINO for this processor when they are first run.

    `device` is "openvino" (frames pass the network in bfloat16 where the processor has it, else in float32) or
    "openvino-f32". A bundle in int8 keeps what it was quantised to, with float32 around it. Raises `device-missing`
    without OpenVINO.
    """

    def __init__(self, bundle: Bundle, device: str, threads: int | None = None) -> None:
        self.device = device
        self._bundle = bundle
        self._openvino = import_openvino(device)
        self._core = self._openvino.Core()
        self._threads = threads or usable_cores()
        half = device == "openvino" and bundle.manifest.precision != "int8" and has_bf16(self._core)
        self._half_graphs = HALF_GRAPHS if half else ()
        self._compiled: dict[str, Any] = {}
        self._free: dict[Any, list[Any]] = {}  # requests that no thread is using
        self._lock = threading.Lock()

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named arrays, shapes and types as the manifest says; its outputs in order."""
        compiled = self._graph(graph)
        spec = self._bundle.manifest.graphs[graph]
        return run_in_pieces(spec, inputs, rows_at_once(spec), partial(self._infer, compiled))

    def close(self) -> None:
        """Free the loaded graphs. Closing twice does nothing."""
        with self._lock:
            self._compiled.clear()
            self._free.clear()

    def _infer(self, compiled: Any, inputs: dict[str, Array]) -> tuple[Array, ...]:
        free = self._free[compiled]
        try:
            request = free.pop()
        except IndexError:  # all at work in other threads
            request = compiled.create_infer_request()
        known = {name: inputs[name] for name, _ in _ports(compiled.inputs)}
        results = request.infer(known, share_inputs=True, share_outputs=True)
        # The request's own memory: the next run writes over it.
        outputs = tuple(np.array(results[port]) for port in compiled.outputs)
        free.append(request)
        return outputs

    def _graph(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._compiled:
                self._compiled[graph] = compiled = self._compile(graph)
                self._free[compiled] = []
            return self._compiled[graph]

    def precision(self, graph: str) -> str:
        """What a graph's float products are computed in: "bf16" or "f32"."""
        return "bf16" if graph in self._half_graphs else "f32"

    def _compile(self, graph: str) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision(graph),
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            # Weights are mapped from the bundle's files.
            model = self._core.read_model(self._bundle.graph_file(graph))
            compiled = self._core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise MaclipError(
                "bundle-corrupt",
                f"OpenVINO {self._openvino.__version__} cannot load the {graph} graph ({first_line(error)}).",
                "Update OpenVINO, use --device cpu, or export the bundle again.",
            ) from error
        spec, inputs = self._bundle.manifest.graphs[graph], _ports(compiled.inputs)
        # Inputs that a graph does not read (plain CLIP has no use for a text) are not inputs to OpenVINO.
        names = {name for name, _ in inputs}
        read = tuple(tensor for tensor in spec.inputs if tensor.name in names)
        dataclasses.replace(spec, inputs=read).require(inputs, _ports(compiled.outputs))
        return compiled


def import_openvino(device: str) -> Any:
    """The package. Raises `device-missing`."""
    try:
        import openvino
    except ImportError as error:
        raise device_missing(
            device, f"OpenVINO is not installed ({first_line(error)})", "Install it: pip install 'maclip[openvino]'."
        ) from error
    return openvino


def has_bf16(core: Any) -> bool:
    """Whether this processor multiplies in bfloat16 (AMX, AVX-512 BF16)."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _ports(found: Any) -> list[tuple[str, str]]:
    types = [(port, port.get_element_type().get_type_name()) for port in found]
    return [(port.get_any_name(), OPENVINO_DTYPES.get(dtype, dtype)) for port, dtype in types]
