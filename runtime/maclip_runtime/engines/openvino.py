"""Run the bundle's graphs with OpenVINO on the CPU, in bfloat16 where that is faster and exact enough."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial
from typing import Any

import numpy as np

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import Array, device_missing, usable_cores
from maclip_runtime.engines.pieces import rows_at_once, run_in_pieces
from maclip_runtime.errors import MaclipError, first_line

# Nearly all the work. Prototypes and distances are a few per cent of it and decide the answer: they stay in float32.
BF16_GRAPHS = ("visual", "stem", "tower")
OPENVINO_DTYPES = {"u8": "uint8", "f32": "float32", "boolean": "bool", "i64": "int64"}


class OpenVinoEngine:
    """The graphs of one bundle, each compiled by OpenVINO for this CPU on its first run.

    bundle: an opened bundle.
    device: "openvino" (the network in bfloat16 where the CPU has it, else in float32) or "openvino-f32". An int8 bundle
        runs in int8 as it was quantized, with float32 around it.
    threads: default: one for each core that this process may use.

    Raises `device-missing` without OpenVINO.
    """

    def __init__(self, bundle: Bundle, device: str, *, threads: int | None = None) -> None:
        self.device = device
        self._bundle = bundle
        self._openvino = import_openvino(device)
        self._core = self._openvino.Core()
        self._threads = threads or usable_cores()
        bf16 = device == "openvino" and bundle.manifest.precision != "int8" and has_bf16(self._core)
        self._bf16_graphs = BF16_GRAPHS if bf16 else ()
        self._compiled: dict[str, Any] = {}
        self._free: dict[Any, list[Any]] = {}  # idle inference requests, by compiled graph
        self._lock = threading.Lock()

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named inputs with the manifest's shapes and dtypes; returns its outputs in order."""
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
        except IndexError:  # all in use by other threads
            request = compiled.create_infer_request()
        known = {name: inputs[name] for name, _ in _ports(compiled.inputs)}
        results = request.infer(known, share_inputs=True, share_outputs=True)
        # Copied, because the next run of the request overwrites its memory.
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
        """The precision of a graph's floating-point products: "bf16" or "f32"."""
        return "bf16" if graph in self._bf16_graphs else "f32"

    def _compile(self, graph: str) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision(graph),
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            # By path: the weights are memory-mapped from the bundle's files.
            model = self._core.read_model(self._bundle.graph_file(graph))
            compiled = self._core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise MaclipError(
                "bundle-corrupt",
                f"OpenVINO {self._openvino.__version__} cannot load the {graph} graph ({first_line(error)}).",
                "Update OpenVINO, use --device cpu, or export the bundle again.",
            ) from error
        spec, inputs = self._bundle.manifest.graphs[graph], _ports(compiled.inputs)
        # OpenVINO drops inputs that a graph does not read (the text of plain CLIP).
        names = {name for name, _ in inputs}
        read = tuple(tensor for tensor in spec.inputs if tensor.name in names)
        dataclasses.replace(spec, inputs=read).require(inputs, _ports(compiled.outputs))
        return compiled


def import_openvino(device: str) -> Any:
    """Import OpenVINO. Raises `device-missing`."""
    try:
        import openvino
    except ImportError as error:
        raise device_missing(
            device, f"OpenVINO is not installed ({first_line(error)})", "Install it: pip install 'maclip[openvino]'."
        ) from error
    except Exception as error:  # its telemetry wants a home, which a container's user may lack
        raise device_missing(
            device, f"OpenVINO cannot be loaded ({first_line(error)})", "Set HOME, or use --device auto."
        ) from error
    return openvino


def has_bf16(core: Any) -> bool:
    """Whether this CPU multiplies in bfloat16 (AMX, AVX-512 BF16)."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _ports(found: Any) -> list[tuple[str, str]]:
    types = [(port, port.get_element_type().get_type_name()) for port in found]
    return [(port.get_any_name(), OPENVINO_DTYPES.get(dtype, dtype)) for port, dtype in types]
