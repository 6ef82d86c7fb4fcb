"""Runs the bundle's graphs with OpenVINO on the processor, in bfloat16 where that pays and does no harm."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from maclip_runtime.bundle import Bundle
from maclip_runtime.engines.base import Array, device_missing, first_line, usable_cores
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
        self._free: dict[str, list[Any]] = {}  # requests that no thread is using
        self._lock = threading.Lock()

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named arrays, shapes and types as the manifest says; its outputs in order."""
        with self._lock:
            if graph not in self._compiled:
                self._compiled[graph] = self._compile(graph)
                self._free[graph] = []
            compiled = self._compiled[graph]
            request = self._free[graph].pop() if self._free[graph] else compiled.create_infer_request()
        try:
            # Inputs that a graph does not read (plain CLIP has no use for a text) are not inputs to OpenVINO.
            known = {name: inputs[name] for port in compiled.inputs for name in port.get_names() if name in inputs}
            results = request.infer(known, share_inputs=True, share_outputs=True)
            # The request's own memory: the next run writes over it.
            return tuple(np.array(results[port]) for port in compiled.outputs)
        finally:
            with self._lock:
                self._free[graph].append(request)

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
