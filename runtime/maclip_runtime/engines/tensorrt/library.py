"""The installed library: TensorRT (`tensorrt`, 10 or later) or TensorRT for RTX (`tensorrt_rtx`)."""

from __future__ import annotations

import functools
import importlib
import logging
from dataclasses import dataclass
from typing import Any

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

NATIVE_DEVICES = ("tensorrt", "rtx")
OLDEST_TENSORRT = 10  # the first with strongly typed networks whose parser reads our graphs
# What an engine of TensorRT for RTX runs on unless told otherwise, by its documentation; later ones too.
RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Library:
    """One library and its logger. `portable` engines are compiled for the GPU at hand only when they are loaded.

    `key` is the module's name, `name` what people call it, `errors` what its logger has been told since it was
    last cleared.
    """

    device: str
    key: str
    name: str
    version: str
    portable: bool
    module: Any
    logger: Any
    errors: list[str]

    def last_error(self) -> str:
        """The library's own words for what went wrong, in one line."""
        return first_line(self.errors[-1]) if self.errors else "it does not say why"


@functools.cache  # the libraries want one logger for the whole process
def find_library(device: str) -> Library:
    """The library behind the device "tensorrt" or "rtx". Raises `device-missing` where it is not installed."""
    key, name, fix = {
        "tensorrt": (
            "tensorrt",
            "TensorRT",
            "Install it (pip install 'maclip[tensorrt]'); on a Jetson, use a Python that sees the system's TensorRT "
            "(python3 -m venv --system-site-packages).",
        ),
        "rtx": ("tensorrt_rtx", "TensorRT for RTX", "Install it: pip install 'maclip[rtx]' (x86-64 only)."),
    }[device]
    try:
        module = importlib.import_module(key)
    except (ImportError, OSError) as error:
        raise MaclipError(
            "device-missing",
            f"The device {device!r} cannot be used: {name} is not installed ({first_line(str(error))}).",
            fix,
            EXIT_MACHINE_LACKS,
        ) from error
    if device == "tensorrt" and int(module.__version__.split(".")[0]) < OLDEST_TENSORRT:
        raise MaclipError(
            "device-missing",
            f"The device {device!r} cannot be used: this is TensorRT {module.__version__}.",
            f"TensorRT {OLDEST_TENSORRT} or later is needed; on a Jetson it comes with JetPack 6.1.",
            EXIT_MACHINE_LACKS,
        )
    errors: list[str] = []
    logger = _logger(module, errors)
    return Library(device, key, name, module.__version__, device == "rtx", module, logger, errors)


def first_line(text: str) -> str:
    """The first line of `text`, of a length that a sentence bears."""
    return (text.strip().splitlines() or ["unknown"])[0][:300]


def _logger(module: Any, errors: list[str]) -> Any:
    severity = module.ILogger.Severity

    class Logger(module.ILogger):  # type: ignore[misc]
        """Errors are kept for our own messages; the rest is for whoever debugs."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                errors.append(message)
            elif level == severity.WARNING:
                log.debug("%s: %s", module.__name__, message)

    return Logger()
