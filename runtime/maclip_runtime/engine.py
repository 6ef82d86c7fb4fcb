"""Runs the bundle's graphs with onnxruntime, on the device that was asked for and on no other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from maclip_runtime.bundle import Bundle
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.tensorrt.library import NATIVE_DEVICES

if TYPE_CHECKING:
    from maclip_runtime.tensorrt.runner import TensorRTEngine

Array = npt.NDArray[Any]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
DEVICES = ("auto", *PROVIDERS, *NATIVE_DEVICES)
ONNX_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(bool)": "bool", "tensor(int64)": "int64"}
ERRORS_ONLY = 3  # onnxruntime's log severity

log = logging.getLogger("maclip")


def open_engine(bundle: Bundle, device: str = "auto") -> Engine | TensorRTEngine:
    """The graphs of a bundle on a device: NVIDIA's own engines for "tensorrt" and "rtx", onnxruntime for the rest.

    Raises what `Engine` and `TensorRTEngine` raise; "auto" never chooses an engine that must be built first.
    """
    if device in NATIVE_DEVICES:
        from maclip_runtime.tensorrt.runner import TensorRTEngine

        return TensorRTEngine(bundle, device)
    return Engine(bundle, device)


class Engine:
    """The graphs of one bundle on one device; a graph is loaded when it is first run.

    `device` is "auto", "cpu" or "cuda". Raises `device-unknown` for another word, `engine-missing` without
    onnxruntime, `device-missing` where the device is not there; "auto" takes what there is and logs it.
    """

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self._bundle = bundle
        self._runtime = _import_onnxruntime()
        self._sessions: dict[str, Any] = {}
        self.device = self._choose(device)

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named arrays, shapes and types as the manifest says; its outputs in order."""
        return tuple(self._session(graph).run(None, inputs))

    def _choose(self, device: str) -> str:
        if device not in DEVICES:
            raise MaclipError("device-unknown", f"{device!r} is no device.", f"Use one of {', '.join(DEVICES)}.")
        available = self._runtime.get_available_providers()
        if device == "auto":
            chosen, why = self._best(available)
            log.info("device: %s (auto: %s)", chosen, why)
            return chosen
        if PROVIDERS[device] not in available:
            raise _missing(device, "this onnxruntime was built without it")
        if device == "cuda" and not self._cuda_works():
            raise _missing(device, "onnxruntime could not start it")
        return device

    def _best(self, available: list[str]) -> tuple[str, str]:
        if PROVIDERS["cuda"] not in available:
            return "cpu", "this onnxruntime was built without CUDA"
        if self._cuda_works():
            return "cuda", "CUDA is available"
        return "cpu", "CUDA could not be started"

    def _cuda_works(self) -> bool:
        # onnxruntime lists CUDA whenever it was built with it, and falls back in silence without a GPU:
        # the session says where it really is.
        if hasattr(self._runtime, "preload_dlls"):  # onnxruntime >= 1.21
            self._runtime.preload_dlls()
        try:
            session = self._load("match", "cuda")
        except self._runtime.capi.onnxruntime_pybind11_state.RuntimeException:
            return False
        works: bool = session.get_providers()[0] == PROVIDERS["cuda"]
        return works

    def _session(self, graph: str) -> Any:
        if graph not in self._sessions:
            session = self._load(graph, self.device)
            if session.get_providers()[0] != PROVIDERS[self.device]:
                raise _missing(self.device, f"onnxruntime put the {graph} graph elsewhere")
            spec = self._bundle.manifest.graphs[graph]
            spec.require(_tensors(session.get_inputs()), _tensors(session.get_outputs()))
            self._sessions[graph] = session
        return self._sessions[graph]

    def _load(self, graph: str, device: str) -> Any:
        options = self._runtime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        providers = [PROVIDERS[device]] if device == "cpu" else [PROVIDERS[device], PROVIDERS["cpu"]]
        state = self._runtime.capi.onnxruntime_pybind11_state
        try:
            return self._runtime.InferenceSession(
                str(self._bundle.graph_file(graph)), sess_options=options, providers=providers
            )
        except (state.InvalidProtobuf, state.InvalidGraph, state.NotImplemented, state.Fail) as error:
            raise MaclipError(
                "bundle-corrupt",
                f"onnxruntime {self._runtime.__version__} cannot load the {graph} graph ({_first_line(error)}).",
                "Update onnxruntime, or export the bundle again.",
            ) from error


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MaclipError(
            "engine-missing",
            "onnxruntime is not installed.",
            "Install it: pip install 'maclip[cpu]' (or 'maclip[gpu]', never both).",
            EXIT_MACHINE_LACKS,
        ) from error
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    return onnxruntime


def _tensors(found: Any) -> list[tuple[str, str]]:
    return [(tensor.name, ONNX_DTYPES.get(tensor.type, tensor.type)) for tensor in found]


def _missing(device: str, why: str) -> MaclipError:
    return MaclipError(
        "device-missing",
        f"The device {device!r} cannot be used: {why}.",
        "Use --device auto or --device cpu, or install what the device needs (pip install 'maclip[gpu]').",
        EXIT_MACHINE_LACKS,
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def as_float(array: Array) -> npt.NDArray[np.float32]:
    """`array` as contiguous float32, as the graphs take it."""
    return np.ascontiguousarray(array, dtype=np.float32)
