"""From a --device value to an engine."""

from __future__ import annotations

import logging

from maclip_runtime import values
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import TENSORRT_DEVICES, TRITON_PREFIX, Engine, is_openvino, is_remote
from maclip_runtime.engines.choice import Timing, choose, is_news
from maclip_runtime.engines.forms import in_best_form, slow_form
from maclip_runtime.engines.providers import PROVIDERS, find_provider, import_onnxruntime, names_provider
from maclip_runtime.errors import MaclipError

OPENVINO_DEVICES = ("openvino", "openvino-f32")
DEVICES = ("auto", *PROVIDERS, *TENSORRT_DEVICES, *OPENVINO_DEVICES)
MAX_THREADS = 1024  # more than any machine has; a typo must not exhaust its process numbers

log = logging.getLogger("maclip")


def open_engine(
    bundle: Bundle, device: str = "auto", *, allow_fallback: bool = False, threads: int | None = None
) -> Engine:
    """Open an engine that runs the graphs of a bundle on a device.

    bundle: an opened bundle.
    device: one of DEVICES, the name of an onnxruntime provider (`CoreMLExecutionProvider`), the library file of a
        plug-in provider, or a server, `triton:grpc://HOST:PORT` (`remote`), with what "auto" means as the machine's
        own engine. "auto" takes what was measured fastest for this bundle on this machine (`timing.measure`),
        else follows a rule (`choice`), and logs why, at level INFO where that differs from the last time. It never
        measures, nor chooses an engine that must be built first or that computes below the bundle's precision.
    allow_fallback: only warn where onnxruntime ran some nodes elsewhere, or where a server cannot be reached at the
        start. One that goes away later is replaced by the machine's own engine in any case.
    threads: CPU threads; default: one for each core that this process may use.

    Of an int8 bundle with both forms the engine opens its best one (`forms`).

    Raises `option-invalid` for impossible `threads`, `device-unknown`, `device-missing` where the device is absent or
    does not start, `engine-missing` without onnxruntime, and what `RemoteEngine` raises. The first run of a graph
    raises `device-fallback` where some of its nodes ran elsewhere and `allow_fallback` is False. TensorRT and OpenVINO
    compile whole graphs and never fall back.
    """
    if threads is not None:
        threads = values.whole(threads, "threads", minimum=1, maximum=MAX_THREADS)
    device = values.text(device, "device")
    if is_remote(device):
        from maclip_runtime.engines.remote.engine import RemoteEngine

        return RemoteEngine(bundle, device, allow_absent=allow_fallback, threads=threads)
    timings: tuple[Timing, ...] = ()
    if device == "auto":
        choice = choose(bundle)
        device, timings = choice.device, choice.timings
        log.log(logging.INFO if is_news(bundle, device) else logging.DEBUG, "device: %s (auto: %s)", device, choice.why)
    if line := slow_form(bundle.manifest, device):
        log.warning("device: %s", line)
    view = in_best_form(bundle, device, timings)
    return open_on(view, device, allow_fallback=allow_fallback, threads=threads)


def open_on(bundle: Bundle, device: str, *, allow_fallback: bool = False, threads: int | None = None) -> Engine:
    """`open_engine` for a device that is not "auto", on a bundle of one form."""
    if device in TENSORRT_DEVICES:
        from maclip_runtime.engines.tensorrt.runner import TensorRTEngine

        return TensorRTEngine(bundle, device)
    if is_openvino(device):
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
        f"Use one of {', '.join(DEVICES)}, the name of an onnxruntime provider, a plug-in provider's library file, or "
        f"{TRITON_PREFIX}grpc://HOST:PORT.",
    )
