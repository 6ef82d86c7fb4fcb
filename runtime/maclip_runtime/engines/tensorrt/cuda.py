"""The part of CUDA that running an engine needs: one GPU, one stream, memory, copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from maclip_runtime.engines.base import Array, device_missing
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError


class Cuda:
    """The first GPU and a stream on it. Raises `device-missing` without a GPU or without CUDA's Python bindings.

    `device` is the --device value, for the error message.
    """

    def __init__(self, device: str) -> None:
        self._runtime = _import_runtime(device)
        status, count = self._runtime.cudaGetDeviceCount()
        if int(status) != 0 or not count:
            raise device_missing(
                device,
                f"no NVIDIA GPU was found ({status.name})",
                "Run this on a machine with a GPU, or use --device cpu.",
            )
        self.stream = int(self._call("cudaStreamCreate"))

    @property
    def capability(self) -> str:
        """The GPU's compute capability, like "8.6"."""
        attribute = self._runtime.cudaDeviceAttr
        major = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, 0)
        minor = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, 0)
        return f"{major}.{minor}"

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes on the GPU; returns their address."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Free the memory at `address`."""
        self._call("cudaFree", address)

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous array to the GPU, asynchronously on the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def download(self, array: Array, address: int) -> None:
        """Copy from the GPU into a contiguous array, asynchronously on the stream; complete after `wait`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)

    def wait(self) -> None:
        """Wait until the stream has finished all work."""
        self._call("cudaStreamSynchronize", self.stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._runtime, name)(*arguments)
        if int(status) != 0:
            raise MaclipError(
                "device-failed",
                f"CUDA failed in {name} ({status.name}).",
                "Free memory on the GPU or update its driver, or use --device cpu.",
                EXIT_MACHINE_LACKS,
            )
        return values[0] if values else None


class Buffers:
    """Buffers on the GPU by name, kept between runs; a buffer grows with its array."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._buffers: dict[str, tuple[int, int]] = {}

    def of(self, name: str, array: Array) -> int:
        """The address of a buffer with room for `array`."""
        address, size = self._buffers.get(name, (0, 0))
        if size < max(array.nbytes, 1):
            if address:
                del self._buffers[name]
                self._cuda.free(address)
            address, size = self._cuda.allocate(max(array.nbytes, 1)), max(array.nbytes, 1)
            self._buffers[name] = address, size
        return address

    def release(self) -> None:
        """Free all buffers."""
        while self._buffers:
            _, (address, _) = self._buffers.popitem()
            self._cuda.free(address)


def contiguous(array: Array, dtype: str) -> Array:
    """`array` as a contiguous array of `dtype`, which a copy to the GPU needs."""
    return np.ascontiguousarray(array, dtype=np.dtype(dtype))


def _import_runtime(device: str) -> Any:
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        raise device_missing(
            device,
            "CUDA's Python bindings are not installed",
            "Install them: pip install cuda-bindings (below 13 for a driver of CUDA 12); or use --device cpu.",
        ) from error
    return runtime
