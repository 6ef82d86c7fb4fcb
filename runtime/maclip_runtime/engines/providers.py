"""onnxruntime's execution providers: those it was built with, and plug-in libraries."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maclip_runtime.engines.audit import CPU
from maclip_runtime.engines.base import device_missing
from maclip_runtime.engines.wheels import cuda_fix
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError, first_line

PROVIDERS = {"cpu": CPU, "cuda": "CUDAExecutionProvider"}
PROVIDER_SUFFIX = "ExecutionProvider"
LIBRARY_SUFFIXES = (".so", ".dll", ".dylib")
PLUGIN_PREFIX = "onnxruntime_ep_"  # of the modules of plug-in wheels
SOURCE_PLACE = re.compile(r"^\S+\.(cc|h):\d+ .*?\) (?=[A-Z\[])|^.*Failed to load library .* with error: ")
ERRORS_ONLY, SILENT = 3, 4  # onnxruntime's log severities
# A graph of one node, y = -x, to test whether a provider starts; a test rebuilds it from its text.
PROBE_GRAPH = bytes.fromhex(
    "08083a340a0d0a017812017922034e65673a001201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a0808011204"
    "0a02080142040a00100d"
)


@dataclass(frozen=True)
class Provider:
    """One provider: the --device value, onnxruntime's name, and for a plug-in the device that it runs on."""

    device: str
    name: str
    plugin_devices: tuple[Any, ...] = ()


def import_onnxruntime() -> Any:
    """Import onnxruntime with telemetry off and only errors logged. Raises `engine-missing`."""
    # From 1.31 on, onnxruntime sends telemetry unless this is set before its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MaclipError(
            "engine-missing",
            f"onnxruntime is not installed or does not load ({first_line(error)}).",
            "Install it: pip install 'maclip[cpu]' (or 'maclip[gpu]', never both).",
            EXIT_MACHINE_LACKS,
        ) from error
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    return onnxruntime


def names_provider(device: str) -> bool:
    """Whether a --device value is onnxruntime's: "cpu", "cuda", a provider's name, or a plug-in's library file."""
    return device in PROVIDERS or device.endswith((PROVIDER_SUFFIX, *LIBRARY_SUFFIXES))


def find_provider(runtime: Any, device: str) -> Provider:
    """The provider of a --device value that `names_provider` accepts. Raises `device-missing`."""
    if device.endswith(LIBRARY_SUFFIXES):
        return _plugin(runtime, device, Path(device))
    name = PROVIDERS.get(device, device)
    if name in runtime.get_available_providers():
        return Provider(device, name)
    if name in (plugins := installed_plugins()):
        return _plugin(runtime, device, plugins[name], name)
    known = ", ".join(sorted({*runtime.get_available_providers(), *plugins} - {"AzureExecutionProvider"}))
    raise device_missing(
        device,
        f"onnxruntime {runtime.__version__} was built without {name} and no plug-in is installed for it",
        f"{cuda_fix()}; or use --device auto."
        if device == "cuda"
        else f"Use --device auto, or a provider that is here: {known}.",
    )


def open_session(runtime: Any, provider: Provider, model: str | bytes, options: Any) -> Any:
    """Open a session on the provider; `model` is a file's path or the graph's bytes.

    Raises `device-missing` where the provider does not start. onnxruntime's errors about the graph itself pass through.
    """
    names: list[str] | None = [provider.name] if provider.name == CPU else [provider.name, CPU]
    if provider.plugin_devices:
        options.add_provider_for_devices(list(provider.plugin_devices), {})
        names = None
    state = runtime.capi.onnxruntime_pybind11_state
    start_errors = tuple(getattr(state, name) for name in ("RuntimeException", "EPFail") if hasattr(state, name))
    try:
        # onnxruntime's own fallback prints on stdout, where results go.
        session = runtime.InferenceSession(model, sess_options=options, providers=names, enable_fallback=0)
    except (RuntimeError, ValueError, *start_errors) as error:
        raise device_missing(provider.device, f"onnxruntime cannot start it ({_message(error)})") from error
    if session.get_providers()[0] != provider.name:
        raise device_missing(provider.device, f"onnxruntime could not start {provider.name}")
    return session


def require_working(runtime: Any, provider: Provider) -> None:
    """Open a small session on the provider. Raises `device-missing` where it does not start on this machine.

    onnxruntime lists CUDA whenever it was built with it, and without a GPU it silently runs on the CPU.
    """
    if provider.name == CPU:
        return
    if hasattr(runtime, "preload_dlls"):  # onnxruntime >= 1.21: load CUDA's libraries from wheels
        with contextlib.redirect_stdout(io.StringIO()):
            runtime.preload_dlls()
    options = runtime.SessionOptions()
    options.log_severity_level = SILENT
    runtime.set_default_logger_severity(SILENT)  # our error says it
    try:
        open_session(runtime, provider, PROBE_GRAPH, options)
    finally:
        runtime.set_default_logger_severity(ERRORS_ONLY)


def installed_plugins() -> dict[str, Path]:
    """The plug-in providers installed as wheels (`onnxruntime-ep-...`): library by provider name."""
    found: dict[str, Path] = {}
    for module in pkgutil.iter_modules():
        if module.name.startswith(PLUGIN_PREFIX):
            try:
                plugin = importlib.import_module(module.name)
                found |= {str(name): Path(plugin.get_library_path()) for name in plugin.get_ep_names()}
            except Exception:  # a broken plug-in counts as not installed
                continue
    return found


def _plugin(runtime: Any, device: str, library: Path, name: str | None = None) -> Provider:
    if not library.is_file():
        raise device_missing(device, f"there is no library {library}", "Give the path of the plug-in's library.")
    if not hasattr(runtime, "register_execution_provider_library"):
        raise device_missing(
            device,
            f"onnxruntime {runtime.__version__} does not support plug-in providers",
            "Update it: pip install --upgrade 'onnxruntime>=1.24'.",
        )
    try:
        found = [one for one in _register(runtime, library.resolve()) if name in (None, one.ep_name)]
    except Exception as error:  # onnxruntime does not document the types
        raise device_missing(device, f"onnxruntime cannot load {library.name} ({_message(error)})") from error
    if not found:
        raise device_missing(device, f"{library.name} finds no device on this machine")
    # A provider may find several devices; a session runs on the first.
    return Provider(device, found[0].ep_name, (found[0],))


@functools.cache  # a library can be registered once per process
def _register(runtime: Any, library: Path) -> tuple[Any, ...]:
    before = {one.ep_name for one in runtime.get_ep_devices()}
    runtime.register_execution_provider_library(str(library), str(library))
    return tuple(one for one in runtime.get_ep_devices() if one.ep_name not in before)


def _message(error: Exception) -> str:
    """onnxruntime's message, without the source location or library path in front."""
    return first_line(SOURCE_PLACE.sub("", str(error)))
