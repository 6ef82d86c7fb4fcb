"""What a user may send of a benchmark: figures, versions, and the machine in words.

Every field is named here, so nothing else gets in: no path, file name, host name, user name, serial number or date.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from maclip_runtime.engines.base import is_remote
from maclip_runtime.engines.opening import DEVICES
from maclip_runtime.engines.providers import PROVIDER_SUFFIX
from maclip_runtime.tools.bench.plan import DRAWN
from maclip_runtime.tools.bench.result import Bench
from maclip_runtime.tools.doctor.machine import machine_facts

SCHEMA = 1
MACHINE = ("processor", "cores", "memory_mib", "system", "python", "libraries", "load_before", "busy")
BOARD = ("board", "instructions", "JetPack release")
BUNDLE = ("backbone", "precision", "forms", "adapted_depth", "frames", "graphs", "mib")
SETTINGS = ("seconds", "threads", "window_s", "hop_s", "enrolled_classes")
PLAIN_NAME = re.compile(r"[\w.+-]{1,60}")  # of a model; anything else may be somebody's path


def submission(bench: Bench) -> dict[str, Any]:
    """The figures of a benchmark for `maclip-run bench --submit`."""
    board = machine_facts()
    machine = {name: bench.machine[name] for name in MACHINE} | {name: board[name] for name in BOARD if name in board}
    bundle = {name: bench.bundle[name] for name in BUNDLE}
    bundle["backbone"] = bundle["backbone"] if PLAIN_NAME.fullmatch(bundle["backbone"]) else "another"
    settings = {name: bench.settings[name] for name in SETTINGS}
    settings["source"] = DRAWN if bench.settings["source"] == DRAWN else "a video of the user's"
    return {
        "schema": SCHEMA,
        "machine": machine,
        "bundle": bundle,
        "settings": settings,
        "device": _device(bench.device),
        **{
            name: dataclasses.asdict(bench)[name]
            for name in ("engines", "streaming", "cold_start", "classes", "sources")
        },
    }


def _device(device: str) -> str:
    """A --device value that is a word; a plug-in is given by its path, a server by its address."""
    if is_remote(device):
        return "a server"
    known = device in DEVICES or PLAIN_NAME.fullmatch(device.removesuffix(PROVIDER_SUFFIX).replace(":", "."))
    return device if known else "a plug-in provider"
