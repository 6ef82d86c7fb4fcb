"""From the user's word for a device to an engine that runs there."""

from __future__ import annotations

import logging
from importlib.util import find_spec

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

MOST_THREADS = 1024  # beyond what any one machine has; a slip of the hand would use up its process numbers

log = logging.getLogger("maclip")


def open_engine(
    bundle: Bundle, device: str = "auto", allow_fallback: bool = False, threads: int | None = None
) -> Engine:
    """The graphs of a bundle on a device.

    `device` is one of DEVICES, the name of an onnxruntime provider (`CoreMLExecutionProvider`), or the library file
    of a plug-in provider. "auto" takes CUDA where it works, else the CPU in float32, and logs one line why; it never
    chooses an engine that must be built first, nor one that computes in less than the bundle's precision.
    `threads` is for engines on the processor; None takes each core that this process may use.

    Raises `option-invalid` for more threads than any machine has; `device-unknown`; `device-missing` where the device
    is not there or does not start, `engine-missing` without onnxruntime; on the first run of a graph `device-fallback`
    where some of its nodes ran elsewhere, unless `allow_fallback`, which makes a warning of it. Engines of NVIDIA and
    OpenVINO compile whole graphs: with them nothing runs elsewhere.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise MaclipError(
            "option-invalid",
            f"{threads} threads cannot be used.",
            f"Give 1 to {MOST_THREADS}, best the number of cores.",
        )
    if device == "auto":
        device, why = choose_device()
        log.info("device: %s (auto: %s)", device, why)
    if device in NATIVE_DEVICES:
        from maclip_runtime.engines.tensorrt.runner import TensorRTEngine

        return TensorRTEngine(bundle, device)
    if device in OPENVINO_DEVICES:
        from maclip_runtime.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, device, threads)
    if names_provider(device):
        from maclip_runtime.engines.onnxruntime import OnnxEngine

        return OnnxEngine(bundle, find_provider(import_onnxruntime(), device), allow_fallback, threads)
    raise MaclipError(
        "device-unknown",
        f"{device!r} is no device.",
        f"Use one of {', '.join(DEVICES)}, the name of an onnxruntime provider, or a plug-in provider's library file.",
    )


def choose_device() -> tuple[str, str]:
    """What "auto" stands for on this machine, and why in a few words. Raises `engine-missing` where nothing runs."""
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
