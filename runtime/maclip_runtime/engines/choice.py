"""The device that "auto" means: the fastest that was measured on this machine for a bundle, else a rule.

`timing` measures; what it found lies in the cache, keyed by the bundle's graphs, the processor and the cores. A file
that was measured with other versions of the libraries, or that cannot be read, is ignored with one line.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from maclip_runtime.bundle.figures import in_ms
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.schema import from_dict, read_json
from maclip_runtime.engines.base import ASK_DOCTOR, OPENVINO, usable_cores
from maclip_runtime.engines.cache import default_cache, write_atomically
from maclip_runtime.engines.forms import ONNXRUNTIME, engine_of
from maclip_runtime.engines.providers import PROVIDERS, find_provider, import_onnxruntime, require_working
from maclip_runtime.errors import MaclipError
from maclip_runtime.processor import processor_name

NETWORK = ("visual", "stem", "tower")  # the graphs that decide the speed
WHEELS = ("onnxruntime", "onnxruntime-gpu", "openvino")
MEASURE_AGAIN = "maclip-run doctor --bundle measures again"
X86_64 = ("x86_64", "AMD64")
MAX_FILE_BYTES = 1 << 16

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Timing:
    """What one device took: the best milliseconds of a step, in one int8 form (None where the bundle is not int8)."""

    device: str
    form: str | None
    step_ms: float


@dataclass(frozen=True)
class Measured:
    """What was measured for a bundle on this machine: the libraries' versions, and timings, the fastest first."""

    libraries: dict[str, str]
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Choice:
    """What "auto" means: the device, the reason in words, and what was measured (nothing: by rule)."""

    device: str
    why: str
    timings: tuple[Timing, ...] = ()


def choose(bundle: Bundle | None = None) -> Choice:
    """The device for `bundle` (None: for any) on this machine. Raises `engine-missing` where nothing runs."""
    timings = read_timings(bundle) if bundle is not None else ()
    for number, one in enumerate(timings):
        if works(one.device):
            return Choice(one.device, _in_words(timings[number:]), timings)
    return Choice(*_by_rule(bundle))


def works(device: str) -> bool:
    """Whether the engine of `device` is installed, and for CUDA whether it starts."""
    if engine_of(device) != ONNXRUNTIME:
        return find_spec(OPENVINO) is not None
    try:
        runtime = import_onnxruntime()
        require_working(runtime, find_provider(runtime, device))
    except MaclipError:
        return False
    return True


def read_timings(bundle: Bundle) -> tuple[Timing, ...]:
    """What was measured here with the libraries that are installed now, the fastest first; nothing where it was not."""
    file = choice_file(bundle)
    try:
        with file.open("rb") as opened:
            found = from_dict(Measured, read_json(opened.read(MAX_FILE_BYTES).decode()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, MaclipError) as error:
        why = error.message if isinstance(error, MaclipError) else str(error)
        log.warning("device: %s is ignored (%s); %s", file, why[:100], MEASURE_AGAIN)
        return ()
    now = installed_libraries()
    if found.libraries != now:
        log.warning("device: %s is of %s, here is %s; %s", file, _named(found.libraries), _named(now), MEASURE_AGAIN)
        return ()
    sound = [one for one in found.timings if math.isfinite(one.step_ms)]
    return tuple(sorted(sound, key=lambda one: one.step_ms))


def keep_timings(bundle: Bundle, timings: tuple[Timing, ...]) -> None:
    """Store what was measured, in one step; without a cache that can be written, say so and go on."""
    text = json.dumps(dataclasses.asdict(Measured(installed_libraries(), timings)), indent=1, allow_nan=False)
    try:
        write_atomically(choice_file(bundle), [text.encode()])
    except OSError as error:
        log.warning("device: what was measured cannot be kept (%s)", error.strerror or error)


def choice_file(bundle: Bundle) -> Path:
    """Where the measurement of a bundle on this machine is kept."""
    manifest = bundle.manifest
    graphs = [
        view.graph_digest(graph)
        for view in (bundle.in_form(form) if form else bundle for form in manifest.form_names or ("",))
        for graph in NETWORK
        if graph in manifest.graphs
    ]
    facts = json.dumps([graphs, processor_name(), platform.machine(), usable_cores()])
    return default_cache() / "choices" / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


def is_news(bundle: Bundle, device: str) -> bool:
    """Whether "auto" means another device for the bundle than the last time on this machine, which is kept.

    True where nothing can be kept.
    """
    file = default_cache() / "chosen" / choice_file(bundle).with_suffix(".txt").name
    try:
        with file.open("rb") as opened:
            if opened.read(MAX_FILE_BYTES) == device.encode():
                return False
    except OSError:
        pass
    with suppress(OSError):
        write_atomically(file, [device.encode()])
    return True


def installed_libraries() -> dict[str, str]:
    """The versions of the engines' wheels that are installed."""
    found = {}
    for name in WHEELS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _by_rule(bundle: Bundle | None) -> tuple[str, str]:
    int8 = bundle is not None and bundle.manifest.precision == "int8"
    try:
        runtime = import_onnxruntime()
    except MaclipError:
        if find_spec(OPENVINO) is None:
            raise
        return OPENVINO if int8 else "openvino-f32", "OpenVINO is installed, onnxruntime is not"
    why = "this onnxruntime was built without CUDA"
    if PROVIDERS["cuda"] in runtime.get_available_providers():
        if works("cuda"):
            return "cuda", "CUDA works"
        why = f"CUDA could not be started{ASK_DOCTOR}"
    if bundle is not None and int8 and find_spec(OPENVINO) is not None and platform.machine() in X86_64:
        found = _by_manifest(bundle)
        if found is not None:
            return found
    return "cpu", why


def _by_manifest(bundle: Bundle) -> tuple[str, str] | None:
    """Between onnxruntime and OpenVINO on an x86-64 CPU: by the export's figures, else OpenVINO for the static form."""
    manifest, held = bundle.manifest, bundle.manifest.form_names
    pairs = manifest.pairs
    if pairs is not None and pairs.architecture in X86_64:
        known = [pair for pair in pairs.measured if pair.form in held]
        if {pair.engine for pair in known} == {ONNXRUNTIME, OPENVINO}:
            fast = min(known, key=lambda pair: pair.step_ms)
            device = OPENVINO if fast.engine == OPENVINO else "cpu"
            return device, f"the fastest where the bundle was exported, with {in_ms(fast.step_ms)} ms a step"
    return (OPENVINO, "the bundle has the static int8 form, which OpenVINO runs fastest") if "static" in held else None


def _in_words(timings: tuple[Timing, ...]) -> str:
    listed = ", ".join(f"{one.device}{f' ({one.form})' if one.form else ''} {in_ms(one.step_ms)}" for one in timings)
    return f"measured here, milliseconds a step: {listed}"


def _named(libraries: dict[str, str]) -> str:
    return " and ".join(f"{name} {number}" for name, number in libraries.items()) or "no engine"
