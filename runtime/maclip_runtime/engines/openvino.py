"""Run the bundle's graphs with OpenVINO: on the CPU, in bfloat16 where that is faster and exact enough, or on Intel's
GPU or NPU.

Compiled graphs are kept in the user's cache, so that only the first start compiles. Running on a GPU or an NPU is
untested.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import threading
from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import OPENVINO, OPENVINO_PREFIX, Array, device_missing, usable_cores
from maclip_runtime.engines.cache import default_cache, key_digest, read_entry, write_entry
from maclip_runtime.engines.pieces import row_axis, rows_at_once, run_in_pieces
from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.processor import processor_name

# Nearly all the work. Prototypes and distances are a few per cent of it and decide the answer: they stay in float32.
NETWORK = ("visual", "stem", "tower")
OPENVINO_DTYPES = {"u8": "uint8", "f32": "float32", "f16": "float16", "boolean": "bool", "i64": "int64"}
PRODUCTS = ("FullyConnected", "MatMul", "Convolution", "Gemm")  # layers of a compiled graph that multiply matrices

log = logging.getLogger("maclip")


class OpenVinoEngine:
    """The graphs of one bundle, each compiled by OpenVINO on its first run, or read from the cache.

    bundle: an opened bundle of one form.
    device: "openvino" (the CPU; the network in bfloat16 where it has that, else in float32), "openvino-f32", or
        "openvino:GPU", "openvino:NPU" and what else OpenVINO finds (the network in float16). An int8 bundle runs in
        int8 as it was quantized, and what is around its products in the same floating point.
    threads: on the CPU; default: one for each core that this process may use.

    Raises `device-missing` without OpenVINO, or where it does not find the device.
    """

    def __init__(self, bundle: Bundle, device: str, *, threads: int | None = None) -> None:
        self.device = device
        self._bundle = bundle
        self._openvino = import_openvino(device)
        self._core = self._openvino.Core()
        self._place = find_place(self._core, device)
        self._threads = threads or usable_cores()
        self._bf16 = device != "openvino-f32" and has_bf16(self._core)
        self._compiled: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        self._free: dict[Any, list[Any]] = {}  # idle inference requests, by compiled graph
        self._lock = threading.Lock()

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named inputs with the manifest's shapes and dtypes; returns its outputs in order."""
        compiled = self._graph(graph)
        spec = self._bundle.manifest.graphs[graph]
        rows = 1 if self.place(graph) == "NPU" else rows_at_once(spec)
        return run_in_pieces(spec, inputs, rows, partial(self._infer, compiled))

    def close(self) -> None:
        """Free the loaded graphs. Closing twice does nothing."""
        with self._lock:
            self._compiled.clear()
            self._free.clear()

    def load(self, graph: str) -> str:
        """Load a graph ahead of its first run: "cached", or "compiled" if it was not in the cache."""
        self._graph(graph)
        return self._origins[graph]

    def place(self, graph: str) -> str:
        """OpenVINO's name of what a graph runs on: "CPU", "GPU", "GPU.1", "NPU", ...

        An NPU takes no free axes: it runs the network clip by clip, and the CPU runs prototypes and distances.
        """
        return self._place if graph in NETWORK or self._place != "NPU" else "CPU"

    def precision(self, graph: str) -> str:
        """The precision of a graph's floating-point products: "f32", "bf16", or "f16" on a GPU or an NPU."""
        if graph not in NETWORK:
            return "f32"
        if self._place != "CPU":
            return "f16"
        return "bf16" if self._bf16 else "f32"

    def products(self, graph: str) -> dict[str, int]:
        """How many matrix products and convolutions of a graph run in which precision, as OpenVINO compiled it."""
        found: Counter[str] = Counter()
        for node in self._graph(graph).get_runtime_model().get_ordered_ops():
            facts = node.get_rt_info()
            if str(facts["layerType"].astype(str)) in PRODUCTS:
                found[str(facts["runtimePrecision"].astype(str))] += 1
        return dict(sorted(found.items()))

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
                self._compiled[graph] = compiled = self._load(graph)
                self._free[compiled] = []
            return self._compiled[graph]

    def _load(self, graph: str) -> Any:
        """The compiled graph: from the cache, else compiled and put there."""
        key = {
            "graph_digest": self._bundle.graph_digest(graph),
            "openvino": self._openvino.__version__,
            "processor": processor_name(),
            "place": self.place(graph),
            "precision": self.precision(graph),
        }
        file = default_cache() / OPENVINO / f"{graph}-{key_digest(key)}.blob"
        content = read_entry(file, key)
        if content is not None:
            try:
                compiled = self._core.import_model(content, self.place(graph), self._settings(graph))
                self._origins[graph] = "cached"
                return self._require(graph, compiled)
            except RuntimeError as error:
                log.warning("device: OpenVINO does not read %s, which is compiled again (%s)", file, first_line(error))
        compiled = self._require(graph, self._compile(graph))
        self._origins[graph] = "compiled"
        try:
            stream = io.BytesIO()
            compiled.export_model(stream)
            write_entry(file, key, stream.getbuffer())
        except (MaclipError, RuntimeError) as error:  # the graph runs all the same
            log.debug("openvino: %s is not kept (%s)", graph, first_line(error))
        return compiled

    def _compile(self, graph: str) -> Any:
        try:
            # By path: the weights are memory-mapped from the bundle's files.
            model = self._core.read_model(self._bundle.graph_file(graph))
            if self.place(graph) == "NPU":
                model.reshape(_one_row(self._bundle, graph))
            return self._core.compile_model(model, self.place(graph), self._settings(graph))
        except RuntimeError as error:
            raise MaclipError(
                "bundle-corrupt",
                f"OpenVINO {self._openvino.__version__} cannot load the {graph} graph ({first_line(error)}).",
                "Update OpenVINO, use --device cpu, or export the bundle again.",
            ) from error

    def _settings(self, graph: str) -> dict[str, Any]:
        settings = {"INFERENCE_PRECISION_HINT": self.precision(graph), "PERFORMANCE_HINT": "LATENCY"}
        return settings | ({"INFERENCE_NUM_THREADS": self._threads} if self.place(graph) == "CPU" else {})

    def _require(self, graph: str, compiled: Any) -> Any:
        """The compiled graph, if it is what the manifest says. Raises `bundle-schema`."""
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


def find_place(core: Any, device: str) -> str:
    """OpenVINO's name of a --device value: "CPU", or what stands after "openvino:". Raises `device-missing`."""
    place = device.removeprefix(OPENVINO_PREFIX).upper() if device.startswith(OPENVINO_PREFIX) else "CPU"
    known = list(core.available_devices)
    # "GPU" is the first one where there are "GPU.0" and "GPU.1".
    if place not in {name.split(".")[0] for name in known} | set(known):
        found = ", ".join(f"openvino:{name}" for name in known)
        raise device_missing(device, f"OpenVINO does not find it here (it finds {found or 'nothing'})")
    return place


def has_bf16(core: Any) -> bool:
    """Whether this CPU multiplies in bfloat16 (AMX, AVX-512 BF16)."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _one_row(bundle: Bundle, graph: str) -> dict[str, list[int]]:
    """The shapes of a graph's inputs with one row."""
    spec = bundle.manifest.graphs[graph]
    return {tensor.name: [1 if n == row_axis(spec) else int(n) for n in tensor.shape] for tensor in spec.inputs}


def _ports(found: Any) -> list[tuple[str, str]]:
    types = [(port, port.get_element_type().get_type_name()) for port in found]
    return [(port.get_any_name(), OPENVINO_DTYPES.get(dtype, dtype)) for port, dtype in types]
