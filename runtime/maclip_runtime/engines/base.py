"""What every engine is to the rest of the runtime, and what they share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

Array = npt.NDArray[Any]

CANNOT_BE_USED = "The device {!r} cannot be used: "
USE_ANOTHER = "Use --device auto or --device cpu"
ASK_DOCTOR = "; maclip-run doctor says why"
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
CPUS = Path("/sys/devices/system/cpu")


class Engine(Protocol):
    """The graphs of one bundle on one device; a graph is loaded when it is first run. Any thread may run it.

    `device` says what runs, in the user's words: "cpu", "cuda", "openvino", an onnxruntime provider's name, ...
    """

    device: str

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named arrays, shapes and types as the manifest says; its outputs in order."""
        ...

    def close(self) -> None:
        """Free the loaded graphs. Closing twice does nothing."""
        ...


def usable_cores() -> int:
    """How many cores this process may use: by its affinity and, in a container, by its share of time.

    Libraries that count the machine's cores start too many threads in a container and get in their own way. Two
    hardware threads of a core count as one: a matrix product fills it alone.
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


def as_float(array: Array) -> npt.NDArray[np.float32]:
    """`array` as contiguous float32, as the graphs take it."""
    return np.ascontiguousarray(array, dtype=np.float32)


def device_missing(device: str, why: str, fix: str = "") -> MaclipError:
    """The error for a device that was asked for and is not there."""
    return MaclipError(
        "device-missing",
        f"{CANNOT_BE_USED.format(device)}{why}.",
        fix or f"{USE_ANOTHER}{ASK_DOCTOR}.",
        EXIT_MACHINE_LACKS,
    )


def first_line(error: object) -> str:
    """The first line of an error's words, of a length that a sentence bears."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
