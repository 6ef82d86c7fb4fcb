"""What figures were measured on."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import maclip
from maclip_export.bench.plan import processor_cores
from maclip_export.bundle.provenance import commit_of, versions


def machine_facts() -> dict[str, Any]:
    """Processor, cores that may be used, load before the run, system, versions, commit (None outside a checkout)."""
    libraries = versions()
    with suppress(PackageNotFoundError):
        libraries["openvino"] = version("openvino")
    return {
        "processor": _processor(),
        "cores": processor_cores(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": libraries,
        "commit": commit_of(Path(maclip.__file__).parents[1]),
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
