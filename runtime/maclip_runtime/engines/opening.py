"""From a --device value to an engine."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from maclip_runtime import values
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import ASK_DOCTOR, Engine
from maclip_runtime.engines.providers import (
    PROVIDERS,
    find_provider,
    import_onnxruntime,
    names_provider,
    require_working,
)
from maclip_runtime.engines.tensorrt.library import NATIVE_DEVICES
from maclip_runtime.errors import MaclipError

OPENVINO_DEVICES = ("openvino", "openvino-f32")
DEVICES = ("auto", *PROVIDERS, *NATIVE_DEVICES, *OPENVINO_DEVICES)
MAX_THREADS = 1024  # more than any machine has; a typo must not exhaust its process numbers

log = logging.getLogger("maclip")


def open_engine(
    bundle: Bundle, device: str = "auto", *, allow_fallback: bool = False, threads: int | None = None
) -> Engine:
    """Open an engine that runs the graphs of a bundle on a device.

    bundle: an opened bundle.
    device: one of DEVICES, the name of an onnxruntime provider (`CoreMLExecutionProvider`), or the library file of a
        plug-in provider. "auto" takes CUDA where it works, else the CPU, and logs why; it never chooses an engine that
        must be built first or that computes below the bundle's precision.
    allow_fallback: only warn where onnxruntime ran some nodes elsewhere.
    threads: CPU threads; default: one for each core that this process may use.

    Raises `option-invalid` for impossible `threads`, `device-unknown`, `device-missing` where the device is absent or
    does not start, `engine-missing` without onnxruntime. The first run of a graph raises `device-fallback` where some
    of its nodes ran elsewhere and `allow_fallback` is False. TensorRT and OpenVINO compile whole graphs and never fall
    back.
    """
    if threads is not None:
        threads = values.whole(threads, "threads", minimum=1, maximum=MAX_THREADS)
    device = values.text(device, "device")
    if device == "auto":
        device, why = choose_device()
        log.info("device: %s (auto: %s)", device, why)
    if device in NATIVE_DEVICES:
        from maclip_runtime.engines.tensorrt.runner import TensorRTEngine

        return TensorRTEngine(bundle, device)
    if device in OPENVINO_DEVICES:
        from maclip_runtime.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, device, threads=threads)
    if names_provider(device):
        from maclip_runtime.engines.onnxruntime import OnnxEngine

        provider = find_provider(import_onnxruntime(), device)
        return OnnxEngine(bundle, provider, allow_fallback=allow_fallback, threads=threads)
    raise device_unknown(device)


def device_unknown(device: str) -> MaclipError:
    """The error `device-unknown`."""
    return MaclipError(
        "device-unknown",
        f"There is no device {device!r}.",
        f"Use one of {', '.join(DEVICES)}, the name of an onnxruntime provider, or a plug-in provider's library file.",
    )


def choose_device() -> tuple[str, str]:
    """The device that "auto" means on this machine, and the reason. Raises `engine-missing` where nothing runs."""
    try:
        runtime = import_onnxruntime()
    except MaclipError:
        if find_spec("openvino") is None:
            raise
        return "openvino-f32", "OpenVINO is installed, onnxruntime is not"
    if PROVIDERS["cuda"] not in runtime.get_available_providers():
        return "cpu", "this onnxruntime was built without CUDA"
    try:
        require_working(runtime, find_provider(runtime, "cuda"))
    except MaclipError:
        return "cpu", f"CUDA could not be started{ASK_DOCTOR}"
    return "cuda", "CUDA works"
