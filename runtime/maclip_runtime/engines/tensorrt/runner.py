"""Runs a bundle's graphs with NVIDIA's own engines, as `maclip_runtime.engines.onnxruntime` does with onnxruntime.

The binding of shapes and buffers is tested with a context that stands in for the library's; on a GPU this has not
been run for want of one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maclip_runtime.bundle.manifest import GraphSpec
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.pieces import row_axis, run_in_pieces, sizes_of
from maclip_runtime.engines.tensorrt.cache import EngineCache
from maclip_runtime.engines.tensorrt.cuda import Buffers, Cuda, contiguous
from maclip_runtime.engines.tensorrt.engines import PORTABLE, engine_for, refuse_unbuildable
from maclip_runtime.engines.tensorrt.library import Library, find_library
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

Array = npt.NDArray[Any]


class TensorRTEngine:
    """The graphs of one bundle on the first GPU; a graph's engine is loaded, or built, when it is first run.

    `device` is "tensorrt" or "rtx". Raises `device-missing` without the library or without a GPU,
    `precision-unsupported` for bundles that are for CPUs.
    """

    def __init__(self, bundle: Bundle, device: str, cache: EngineCache | None = None) -> None:
        refuse_unbuildable(bundle.manifest.precision, bundle.manifest.quantization)
        self.device = device
        self._bundle = bundle
        self._library = find_library(device)
        self._cuda = Cuda(device)
        self._capability = PORTABLE if self._library.portable else self._cuda.capability
        self._cache = cache or EngineCache()
        self._programs: dict[str, Program] = {}
        self._lock = threading.Lock()  # a context runs one thing at a time

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named arrays, shapes and types as the manifest says; its outputs in order."""
        with self._lock:
            program = self._program(graph, inputs)
            return run_in_pieces(program.spec, inputs, program.most_rows, program.run)

    def close(self) -> None:
        """Free the loaded graphs and their memory on the GPU. Closing twice does nothing."""
        with self._lock:
            while self._programs:
                self._programs.popitem()[1].release()

    def _program(self, graph: str, inputs: dict[str, Array]) -> Program:
        spec = self._bundle.manifest.graphs[graph]
        sizes = sizes_of(spec, inputs)
        program = self._programs.get(graph)
        if program is None or not program.takes(sizes):
            serialised = engine_for(self._bundle, graph, self._library, self._capability, self._cache, sizes)
            if program is not None:
                program.release()
            program = Program(spec, load_engine(self._library, graph, serialised), self._cuda)
            self._programs[graph] = program
        return program


@dataclass(frozen=True)
class Loaded:
    """An engine in the library's hands, with what it must not outlive."""

    runtime: Any
    engine: Any
    context: Any


class Program:
    """One loaded engine, its memory on the GPU, and the most of each axis it takes."""

    def __init__(self, spec: GraphSpec, loaded: Loaded, cuda: Cuda) -> None:
        self.spec = spec
        self._loaded = loaded
        self._cuda = cuda
        self._buffers = Buffers(cuda)
        self.most: dict[str, int] = {}
        for tensor in spec.inputs:
            _, _, most = loaded.engine.get_tensor_profile_shape(tensor.name, 0)
            self.most |= {axis: int(n) for axis, n in zip(tensor.shape, most, strict=True) if isinstance(axis, str)}

    @property
    def most_rows(self) -> int:
        """The most rows it takes at once."""
        rows = row_axis(self.spec)
        return 1 if rows is None else self.most[rows]

    def takes(self, sizes: dict[str, int]) -> bool:
        """Whether arrays of these sizes can be run: of rows any number, in pieces."""
        rows = row_axis(self.spec)
        return all(size <= self.most[axis] for axis, size in sizes.items() if axis != rows)

    def run(self, inputs: dict[str, Array]) -> tuple[Array, ...]:
        """Run once, at most as many rows as the engine takes. Raises `device-failed`."""
        context = self._loaded.context
        arrays = [contiguous(inputs[tensor.name], tensor.dtype) for tensor in self.spec.inputs]  # kept until `wait`
        for tensor, array in zip(self.spec.inputs, arrays, strict=True):
            address = self._buffers.of(tensor.name, array)
            self._cuda.upload(address, array)
            self._must(context.set_input_shape(tensor.name, array.shape), tensor.name)
            self._must(context.set_tensor_address(tensor.name, address), tensor.name)
        outputs = []
        for tensor in self.spec.outputs:
            # Known now that the inputs' shapes are.
            array = np.empty(tuple(context.get_tensor_shape(tensor.name)), np.dtype(tensor.dtype))
            address = self._buffers.of(tensor.name, array)
            self._must(context.set_tensor_address(tensor.name, address), tensor.name)
            outputs.append((array, address))
        self._must(context.execute_async_v3(self._cuda.stream), "its work")
        for array, address in outputs:
            self._cuda.download(array, address)
        self._cuda.wait()
        return tuple(array for array, _ in outputs)

    def release(self) -> None:
        """Give its memory on the GPU back: it is not run again."""
        self._buffers.release()

    def _must(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise MaclipError(
                "device-failed",
                f"The engine did not take {what}.",
                "Build it again (maclip-run build), or use --device cpu.",
                EXIT_MACHINE_LACKS,
            )


def load_engine(library: Library, graph: str, serialised: bytes | memoryview) -> Loaded:
    """Load a serialised engine. Raises `device-failed` where this GPU cannot."""
    library.errors.clear()
    runtime = library.module.Runtime(library.logger)
    engine = runtime.deserialize_cuda_engine(serialised)
    context = None if engine is None else engine.create_execution_context()
    if context is None:
        raise MaclipError(
            "device-failed",
            f"{library.name} {library.version} cannot load the {graph} engine here: {library.last_error()}.",
            "Update the GPU's driver, or use --device cuda or --device cpu.",
            EXIT_MACHINE_LACKS,
        )
    return Loaded(runtime, engine, context)
