"""The processor that this runs on."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """The processor's model as the system names it, else its architecture."""
    return first_field(CPUINFO, "model name") or platform.processor() or platform.machine()


def first_field(file: Path, key: str) -> str | None:
    """The first value of a `key: value` line; None where there is no such file or line."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), None)
