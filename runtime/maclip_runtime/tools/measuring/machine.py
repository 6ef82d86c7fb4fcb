"""What figures were measured on: processor, cores, load, memory, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from maclip_runtime.processor import first_field, processor_name

# By their names as distributions: onnxruntime is one module of several.
LIBRARIES = (
    "maclip",
    "numpy",
    "av",
    "pillow",
    "safetensors",
    "torch",
    "open_clip_torch",
    "onnx",
    "onnxscript",
    "onnxslim",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)
ROOT = Path(__file__).resolve().parents[4]  # of the checkout, if this is one
BUSY_LOAD = 0.3  # load per core at the start above which figures are doubtful
GIT_SECONDS = 20.0
KIB = 1024


def machine_facts() -> dict[str, Any]:
    """Processor, usable cores, load, memory, system, versions, commit (None outside a checkout) and time.

    Call it before measuring: `load_before` is the load of the last minute, and `busy` says that so much else ran on
    the machine that the figures are doubtful. Both are None and False where the system reports no load.
    """
    cores = usable_cores()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "processor": processor_name(),
        "cores": cores,
        "load_before": load,
        "busy": load is not None and load > BUSY_LOAD * cores,
        "memory_mib": mib_field(Path("/proc/meminfo"), "MemTotal"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": library_versions(LIBRARIES),
        "commit": commit_of(ROOT),
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def library_versions(names: Sequence[str]) -> dict[str, str]:
    """The version of each distribution in `names` that is installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit_of(root: Path) -> str | None:
    """The commit checked out at `root`, "-dirty" where tracked files differ; None where `root` is no checkout.

    Only a checkout's own top folder counts: an installed maclip may lie inside another project's checkout.
    """
    if not (root / ".git").exists():
        return None
    # Inside a git hook these variables point at another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def mib_field(file: Path, key: str) -> float | None:
    """A field of /proc that is given in kB, in MiB; None where there is no such file or field."""
    value = first_field(file, key)
    return round(int(value.split()[0]) / KIB, 1) if value else None
