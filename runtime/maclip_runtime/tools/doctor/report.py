"""The doctor's report: everything that was found, and a list of problems."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.bundle.opening import SIGNATURE_FILE, Bundle
from maclip_runtime.engines.base import ASK_DOCTOR
from maclip_runtime.engines.cache import CACHE_VARIABLE, default_cache
from maclip_runtime.engines.choice import Timing, choose, read_timings
from maclip_runtime.engines.providers import PROVIDERS, installed_plugins
from maclip_runtime.engines.timing import measure
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources.kinds.gst import gstreamer_version
from maclip_runtime.tools.doctor.devices import DeviceState, GraphRun, device_states, run_graphs
from maclip_runtime.tools.doctor.libraries import SharedLibrary, provider_libraries
from maclip_runtime.tools.doctor.machine import has_nvidia_gpu, library_versions, machine_facts, onnxruntime_wheels
from maclip_runtime.tools.doctor.surroundings import Camera, Extra, cache_fault, cameras, extras


@dataclass(frozen=True)
class Problem:
    """A problem: the `subject` in a word, what is wrong, and the fix."""

    subject: str
    message: str
    fix: str


@dataclass(frozen=True)
class Report:
    """What `maclip-run doctor` prints; `dataclasses.asdict` gives its JSON.

    `device` is the --device value, `chosen` the device that it means on this machine (None where nothing runs), `why`
    the reason, `timings` what was measured here for the bundle, the fastest first. `signed` is None without a bundle.
    `gstreamer` is "" where neither csi:// cameras nor gst: can be opened.
    """

    machine: dict[str, str]
    versions: dict[str, str | None]
    device: str
    chosen: str | None
    why: str
    timings: tuple[Timing, ...]
    devices: tuple[DeviceState, ...]
    libraries: tuple[SharedLibrary, ...]
    graphs: tuple[GraphRun, ...]
    signed: bool | None
    extras: tuple[Extra, ...]
    cameras: tuple[Camera, ...]
    gstreamer: str
    cache: str
    problems: tuple[Problem, ...]


def diagnose(device: str = "auto", bundle: Path | None = None, *, trust_engines: bool = False) -> Report:
    """Examine this machine.

    device: the --device value to examine.
    bundle: a bundle's folder, each of whose graphs is run once; None: no graph is run. With "auto" the engines are
        timed on it, if that was not done before with these versions; the cache keeps the result.
    trust_engines: see `Bundle.open`.

    A missing or unknown device is a problem in the report, not an error; `require_device` raises it. Raises what
    `Bundle.open` raises.
    """
    opened = Bundle.open(bundle, trust_engines=trust_engines) if bundle is not None else None
    problems = _wheels()
    states = device_states(device)
    timings: tuple[Timing, ...] = ()
    if opened is not None and device == "auto":
        timings = read_timings(opened) or measure(opened)
    chosen, why = _choice(device, opened, states, problems)
    if device == "auto" and chosen == "cpu" and has_nvidia_gpu():
        cuda = next(state for state in states if state.device == "cuda")
        problems.append(
            Problem("cuda", f"This machine has an NVIDIA GPU that auto does not use: {cuda.message}", cuda.fix)
        )
    libraries = provider_libraries(installed_plugins())
    problems += _libraries(libraries, device)
    graphs: tuple[GraphRun, ...] = ()
    if opened is not None and chosen is not None:
        try:
            graphs = run_graphs(opened, chosen, timings)
        except MaclipError as error:
            problems.append(Problem("bundle", error.message, error.fix))
    problems += [
        Problem(
            run.graph,
            f"{len(run.fallback_nodes)} of its nodes did not run on {chosen}.",
            "Use another --device, or accept it with --allow-fallback.",
        )
        for run in graphs
        if run.fallback_nodes
    ]
    seen = cameras()
    problems += [
        Problem(
            camera.path, "This user has no permission to read it.", "sudo usermod -aG video $USER, then log in again."
        )
        for camera in seen
        if not camera.readable
    ]
    if fault := cache_fault():
        problems.append(Problem("cache", f"{fault}.", f"Use another folder: {CACHE_VARIABLE}=DIR."))
    return Report(
        machine_facts(),
        library_versions(),
        device,
        chosen,
        why,
        timings,
        states,
        libraries,
        graphs,
        (bundle / SIGNATURE_FILE).is_file() if bundle is not None else None,
        extras(),
        seen,
        gstreamer_version(),
        str(default_cache()),
        tuple(problems),
    )


def _choice(
    device: str, bundle: Bundle | None, states: tuple[DeviceState, ...], problems: list[Problem]
) -> tuple[str | None, str]:
    if device != "auto":
        state = next(state for state in states if state.device == device)
        if state.works:
            return device, "asked for"
        problems.append(Problem(device, state.message, state.fix))
        return None, state.message
    try:
        choice = choose(bundle)
        return choice.device, choice.why.replace(ASK_DOCTOR, "")
    except MaclipError as error:
        problems.append(Problem("engine", error.message, error.fix))
        return None, error.message


def _wheels() -> list[Problem]:
    names = list(onnxruntime_wheels())
    if len(names) < 2:
        return []
    return [
        Problem(
            "onnxruntime",
            f"{' and '.join(names)} are both installed; they are the same Python module and overwrite each other.",
            f"pip uninstall -y {' '.join(names)}, then pip install 'maclip[cpu]' or 'maclip[gpu]'.",
        )
    ]


def _libraries(libraries: tuple[SharedLibrary, ...], device: str) -> list[Problem]:
    """Missing dependencies of CUDA's provider and of the device that was asked for; nobody may need the others."""
    wanted = (PROVIDERS["cuda"], PROVIDERS.get(device, device))
    return [
        Problem(
            library.provider,
            f"{library.file} needs {', '.join(library.missing)}, which cannot be found.",
            f"{library.fix}.",
        )
        for library in libraries
        if library.missing and library.provider in wanted
    ]
