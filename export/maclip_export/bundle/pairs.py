"""Each int8 form with each engine that is installed here, timed with the runtime's own engines."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maclip_runtime.bundle.figures import Pair, Pairs
from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import OPENVINO, usable_cores
from maclip_runtime.engines.choice import installed_libraries, works
from maclip_runtime.engines.forms import engine_of
from maclip_runtime.engines.timing import time_devices
from maclip_runtime.processor import processor_name


def measure_pairs(folder: Path, manifest: Manifest, note: Callable[[str], None]) -> Pairs | None:
    """Time the int8 forms of the bundle in `folder` on this CPU; None where no engine ran one.

    manifest: the bundle's, which is not written yet.
    note: called with what is being timed.
    """
    bundle = Bundle(folder, manifest, (), np.zeros((0, manifest.feature_width), np.float32))
    devices = [device for device in ("cpu", OPENVINO) if works(device)]
    timings = time_devices(bundle, devices, note=note)
    if not timings:
        return None
    versions = installed_libraries()
    pairs = []
    for one in timings:
        engine = engine_of(one.device)
        number = next(number for name, number in versions.items() if name.startswith(engine))
        pairs.append(Pair(str(one.form), engine, number, one.step_ms, round(one.step_ms / timings[0].step_ms, 3)))
    best: dict[str, str] = {}
    for pair in pairs:  # the fastest first
        best.setdefault(pair.engine, pair.form)
    machine = f"{processor_name()}, {usable_cores()} cores, {platform.machine()}"
    return Pairs(machine, platform.machine(), tuple(pairs), best)
