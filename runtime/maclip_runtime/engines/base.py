"""The interface of all engines, and what they share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

Array = npt.NDArray[Any]

CANNOT_BE_USED = "The device {!r} cannot be used: "
ASK_DOCTOR = "; maclip-run doctor says why"
OPENVINO, OPENVINO_PREFIX = "openvino", "openvino:"
TENSORRT_DEVICES = ("tensorrt", "rtx")
TRITON_PREFIX = "triton:"
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
CPUS = Path("/sys/devices/system/cpu")


class Engine(Protocol):
    """The graphs of one bundle on one device. A graph is loaded on its first run. Thread-safe.

    `device` is the --device value: "cpu", "cuda", "openvino", "openvino:GPU", an onnxruntime provider's name, ...
    An engine on another machine is a `WindowEngine` too.
    """

    device: str

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named inputs with the manifest's shapes and dtypes; returns its outputs in order."""
        ...

    def close(self) -> None:
        """Free the loaded graphs. Closing twice does nothing."""
        ...


@runtime_checkable
class WindowEngine(Protocol):
    """An engine that may be sent whole windows of frames, also where the bundle has stem and tower.

    `takes_windows` says whether it wants them now: it changes when a server goes away or comes back.
    """

    @property
    def takes_windows(self) -> bool:
        """Whether `run("visual", ...)` is the way for now."""
        ...


def usable_cores() -> int:
    """How many cores this process may use, by its CPU affinity and its cgroup's quota.

    Libraries that count all cores of the machine start too many threads in a container. Two hardware threads of one
    core count as one, because one thread of a matrix product already fills the core.
    """
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = len({_siblings(cpu) for cpu in cpus})
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return cores


def _siblings(cpu: int) -> str:
    try:
        return (CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def is_openvino(device: str) -> bool:
    """Whether a --device value is OpenVINO's."""
    return device in (OPENVINO, "openvino-f32") or device.startswith(OPENVINO_PREFIX)


def is_remote(device: str) -> bool:
    """Whether a --device value names a server."""
    return device.startswith(TRITON_PREFIX)


def as_float(array: Array) -> npt.NDArray[np.float32]:
    """`array` as contiguous float32, which the graphs take."""
    return np.ascontiguousarray(array, dtype=np.float32)


def device_missing(device: str, why: str, fix: str = "") -> MaclipError:
    """The error `device-missing`: `why` ends the sentence; without a `fix` another device is suggested."""
    return MaclipError(
        "device-missing",
        f"{CANNOT_BE_USED.format(device)}{why}.",
        fix or f"Use --device auto or --device cpu{ASK_DOCTOR}.",
        EXIT_MACHINE_LACKS,
    )
