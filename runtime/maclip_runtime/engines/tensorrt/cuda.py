"""The little of CUDA that running an engine takes: one GPU, one stream, memory, copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

Array = npt.NDArray[Any]


class Cuda:
    """The first GPU and a stream on it. Raises `device-missing` where there is none or CUDA's bindings are not.

    `device` is the word the user asked for, for the message.
    """

    def __init__(self, device: str) -> None:
        self._runtime = _import_runtime(device)
        status, count = self._runtime.cudaGetDeviceCount()
        if int(status) != 0 or not count:
            raise _missing(device, f"no NVIDIA GPU was found ({status.name})", "Run this on a machine with one.")
        self.stream = int(self._call("cudaStreamCreate"))

    @property
    def capability(self) -> str:
        """The GPU's compute capability, like "8.6"."""
        attribute = self._runtime.cudaDeviceAttr
        major = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, 0)
        minor = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, 0)
        return f"{major}.{minor}"

    def allocate(self, size: int) -> int:
        """`size` bytes on the GPU; their address."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", address)

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous array to the GPU, in the stream's order."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def download(self, array: Array, address: int) -> None:
        """Copy from the GPU into a contiguous array, in the stream's order: there after `wait`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)

    def wait(self) -> None:
        """Until all that the stream was given is done."""
        self._call("cudaStreamSynchronize", self.stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._runtime, name)(*arguments)
        if int(status) != 0:
            raise MaclipError(
                "device-failed",
                f"CUDA failed in {name} ({status.name}).",
                "Free memory on the GPU or update its driver; --device cpu does without it.",
                EXIT_MACHINE_LACKS,
            )
        return values[0] if values else None


class Buffers:
    """Memory on the GPU by name, kept between runs; a longer array gets a larger piece."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._pieces: dict[str, tuple[int, int]] = {}

    def of(self, name: str, array: Array) -> int:
        """The address of a piece that holds `array`."""
        address, size = self._pieces.get(name, (0, 0))
        if size < max(array.nbytes, 1):
            if address:
                del self._pieces[name]
                self._cuda.free(address)
            address, size = self._cuda.allocate(max(array.nbytes, 1)), max(array.nbytes, 1)
            self._pieces[name] = address, size
        return address

    def release(self) -> None:
        """Give all pieces back."""
        while self._pieces:
            _, (address, _) = self._pieces.popitem()
            self._cuda.free(address)


def contiguous(array: Array, dtype: str) -> Array:
    """`array` as a copy can read it."""
    return np.ascontiguousarray(array, dtype=np.dtype(dtype))


def _import_runtime(device: str) -> Any:
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        fix = "Install them: pip install cuda-bindings (below 13 for a driver of CUDA 12)."
        raise _missing(device, "CUDA's Python bindings are not installed", fix) from error
    return runtime


def _missing(device: str, why: str, fix: str) -> MaclipError:
    return MaclipError(
        "device-missing",
        f"The device {device!r} cannot be used: {why}.",
        f"{fix} --device cpu does without.",
        EXIT_MACHINE_LACKS,
    )
