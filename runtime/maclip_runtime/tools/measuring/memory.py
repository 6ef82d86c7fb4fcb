"""The memory of this process."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from maclip_runtime.tools.measuring.machine import KIB, mib_field

STATUS = Path("/proc/self/status")


def resident_mib() -> float | None:
    """This process's resident memory in MiB; None where the system does not say (no /proc)."""
    return mib_field(STATUS, "VmRSS")


def peak_resident_mib() -> float | None:
    """The highest resident memory of this process so far, in MiB; None on Windows."""
    peak = mib_field(STATUS, "VmHWM")
    if peak is not None or os.name != "posix":
        return peak
    import resource  # of a process that was forked, this may count the parent: so only where there is no /proc

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (KIB * KIB if platform.system() == "Darwin" else KIB)
