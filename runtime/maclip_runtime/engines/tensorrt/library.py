"""The installed library: TensorRT (`tensorrt`, 10 or later) or TensorRT for RTX (`tensorrt_rtx`)."""

from __future__ import annotations

import functools
import importlib
import logging
from dataclasses import dataclass
from typing import Any

from maclip_runtime.engines.base import device_missing
from maclip_runtime.errors import first_line

MIN_TENSORRT = 10  # the first whose parser reads our graphs as strongly typed networks
# The compute capabilities that engines of TensorRT for RTX run on by default, by its documentation; later ones too.
RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Library:
    """One installed library and its logger.

    `device` is the --device value, `key` the Python module's name, `name` the product's. `portable` engines are
    compiled for the GPU when they are loaded. `errors` collects the errors that the library logs.
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
        """The library's last error in one line."""
        return first_line(self.errors[-1]) if self.errors else "no reason given"


@functools.cache  # the libraries allow one logger per process
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
        raise device_missing(device, f"{name} is not installed ({first_line(error)})", fix) from error
    if device == "tensorrt" and int(module.__version__.split(".")[0]) < MIN_TENSORRT:
        raise device_missing(
            device,
            f"this is TensorRT {module.__version__}",
            f"Install TensorRT {MIN_TENSORRT} or later; on a Jetson it comes with JetPack 6.1.",
        )
    errors: list[str] = []
    logger = _logger(module, errors)
    return Library(device, key, name, module.__version__, device == "rtx", module, logger, errors)


def _logger(module: Any, errors: list[str]) -> Any:
    severity = module.ILogger.Severity

    class Logger(module.ILogger):  # type: ignore[misc]
        """Keeps errors for our messages; warnings go to the debug log."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                errors.append(message)
            elif level == severity.WARNING:
                log.debug("%s: %s", module.__name__, message)

    return Logger()
