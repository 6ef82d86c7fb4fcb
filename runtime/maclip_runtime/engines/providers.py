"""onnxruntime's execution providers: those it was built with, and plug-ins that come as libraries of their own."""

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
from maclip_runtime.engines.base import device_missing, first_line
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

PROVIDERS = {"cpu": CPU, "cuda": "CUDAExecutionProvider"}
PROVIDER_SUFFIX = "ExecutionProvider"
LIBRARY_SUFFIXES = (".so", ".dll", ".dylib")
PLUGIN_MODULES = "onnxruntime_ep_"  # how wheels of plug-in providers name their module
BEFORE_THE_WORDS = re.compile(r"^\S+\.(cc|h):\d+ .*?\) (?=[A-Z\[])|^.*Failed to load library .* with error: ")
ERRORS_ONLY, SILENT = 3, 4  # onnxruntime's log severities
# A graph of one node, y = -x, to see whether a provider starts; a test makes it again from its text.
SMALLEST_GRAPH = bytes.fromhex(
    "08083a340a0d0a017812017922034e65673a001201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a0808011204"
    "0a02080142040a00100d"
)


@dataclass(frozen=True)
class Provider:
    """One provider: the user's word for it, onnxruntime's name, and for a plug-in the devices it drives."""

    device: str
    name: str
    plugged: tuple[Any, ...] = ()


def import_onnxruntime() -> Any:
    """onnxruntime, told to be quiet and to send nobody anything. Raises `engine-missing`."""
    # From 1.31 on it keeps a database in the user's cache and reports to its maker, unless told so before its import.
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
    """Whether the word is for onnxruntime: "cpu", "cuda", a provider's own name, or a plug-in's library file."""
    return device in PROVIDERS or device.endswith((PROVIDER_SUFFIX, *LIBRARY_SUFFIXES))


def find_provider(runtime: Any, device: str) -> Provider:
    """The provider behind a word that `names_provider` takes. Raises `device-missing`."""
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
        "Install its CUDA build: pip uninstall onnxruntime, then pip install 'maclip[gpu]'; or use --device auto."
        if device == "cuda"
        else f"Use --device auto, or a provider that is here: {known}.",
    )


def open_session(runtime: Any, provider: Provider, model: str | bytes, options: Any) -> Any:
    """A session of a graph, by file or bytes, that has the provider. Raises `device-missing` where it does not start.

    What onnxruntime says of the graph itself goes through as it is.
    """
    names: list[str] | None = [provider.name] if provider.name == CPU else [provider.name, CPU]
    if provider.plugged:
        options.add_provider_for_devices(list(provider.plugged), {})
        names = None
    state = runtime.capi.onnxruntime_pybind11_state
    not_here = tuple(getattr(state, name) for name in ("RuntimeException", "EPFail") if hasattr(state, name))
    try:
        # Without its own fallback: that one prints on stdout, where results go.
        session = runtime.InferenceSession(model, sess_options=options, providers=names, enable_fallback=0)
    except (RuntimeError, ValueError, *not_here) as error:
        raise device_missing(provider.device, f"onnxruntime cannot start it ({_words(error)})") from error
    if session.get_providers()[0] != provider.name:
        raise device_missing(provider.device, f"onnxruntime could not start {provider.name}")
    return session


def require_working(runtime: Any, provider: Provider) -> None:
    """Raises `device-missing` where a provider does not start on this machine.

    onnxruntime lists CUDA whenever it was built with it, and without a GPU it would run on the CPU in silence: only
    a session says where it is.
    """
    if provider.name == CPU:
        return
    if hasattr(runtime, "preload_dlls"):  # onnxruntime >= 1.21: CUDA's libraries that were installed as wheels
        with contextlib.redirect_stdout(io.StringIO()):
            runtime.preload_dlls()
    options = runtime.SessionOptions()
    options.log_severity_level = SILENT
    runtime.set_default_logger_severity(SILENT)  # what is wrong is said in our own words
    try:
        open_session(runtime, provider, SMALLEST_GRAPH, options)
    finally:
        runtime.set_default_logger_severity(ERRORS_ONLY)


def installed_plugins() -> dict[str, Path]:
    """The plug-in providers that were installed as wheels (`onnxruntime-ep-...`): name and library."""
    found: dict[str, Path] = {}
    for module in pkgutil.iter_modules():
        if module.name.startswith(PLUGIN_MODULES):
            try:
                plugin = importlib.import_module(module.name)
                found |= {str(name): Path(plugin.get_library_path()) for name in plugin.get_ep_names()}
            except Exception:  # a wheel of others that is broken is a plug-in that is not there
                continue
    return found


def _plugin(runtime: Any, device: str, library: Path, name: str | None = None) -> Provider:
    if not library.is_file():
        raise device_missing(device, f"there is no library {library}", "Give the path of the provider's library.")
    if not hasattr(runtime, "register_execution_provider_library"):
        raise device_missing(
            device,
            f"onnxruntime {runtime.__version__} knows no plug-in providers",
            "Update it: pip install --upgrade 'onnxruntime>=1.24'.",
        )
    try:
        found = [one for one in _register(runtime, library.resolve()) if name in (None, one.ep_name)]
    except Exception as error:  # of several types, none of which onnxruntime documents
        raise device_missing(device, f"onnxruntime cannot load {library.name} ({_words(error)})") from error
    if not found:
        raise device_missing(device, f"{library.name} finds nothing on this machine that it can drive")
    # A provider may drive several devices, a session runs on one: the one it names first.
    return Provider(device, found[0].ep_name, (found[0],))


@functools.cache  # a library is registered once a process
def _register(runtime: Any, library: Path) -> tuple[Any, ...]:
    before = {one.ep_name for one in runtime.get_ep_devices()}
    runtime.register_execution_provider_library(str(library), str(library))
    return tuple(one for one in runtime.get_ep_devices() if one.ep_name not in before)


def _words(error: Exception) -> str:
    """What onnxruntime says, without the place in its source or the library's path that come before."""
    return first_line(BEFORE_THE_WORDS.sub("", str(error)))
