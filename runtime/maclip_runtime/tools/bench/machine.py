"""What figures were measured on: the machine's facts, and this process's memory."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# By their names as distributions: onnxruntime is one module of several.
LIBRARIES = (
    "maclip",
    "numpy",
    "av",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)
BUSY_LOAD = 0.3  # other processes that want a core, for each core there is, from which on figures are doubtful
KIB = 1024


def machine_facts() -> dict[str, Any]:
    """Processor, cores this process may use, load before, memory, system, versions, time.

    `busy` says that so much else ran on the machine that the figures are doubtful.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": cores,
        "load_before": load,
        "busy": load is not None and load > BUSY_LOAD * cores,
        "memory_mib": _kib("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": _versions(),
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def resident_mib() -> float | None:
    """This process's resident memory in MiB; None where the system does not say (no /proc)."""
    return _kib("/proc/self/status", "VmRSS")


def peak_resident_mib() -> float | None:
    """The highest resident memory of this process so far, in MiB; None on Windows."""
    peak = _kib("/proc/self/status", "VmHWM")
    if peak is not None or os.name != "posix":
        return peak
    import resource  # of a process that was forked, this may count the parent: so only where there is no /proc

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (KIB * KIB if platform.system() == "Darwin" else KIB)


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _kib(file: str, key: str) -> float | None:
    value = _first(file, key)
    return round(int(value.split()[0]) / KIB, 1) if value else None


def _first(file: str, key: str) -> str | None:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), None)
