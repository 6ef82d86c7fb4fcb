"""Runs the bundle's graphs with onnxruntime, on one of its providers, and finds out whether it did."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

from maclip_runtime.bundle import Bundle
from maclip_runtime.engines.audit import CPU, Placement, read_profile
from maclip_runtime.engines.base import Array, first_line, usable_cores
from maclip_runtime.engines.providers import ERRORS_ONLY, Provider, import_onnxruntime, open_session, require_working
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

ONNX_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(bool)": "bool", "tensor(int64)": "int64"}

log = logging.getLogger("maclip")


class OnnxEngine:
    """The graphs of one bundle with one provider.

    The first run of each graph is profiled: nodes that ran elsewhere are the error `device-fallback`, or with
    `allow_fallback` a warning. `audit` profiles the CPU too, which has nowhere else to run; `placements` is what
    was found. Raises `device-missing` where the provider does not start here.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider,
        allow_fallback: bool = False,
        threads: int | None = None,
        audit: bool = False,
    ) -> None:
        self.device = provider.device
        self.placements: dict[str, Placement] = {}
        self._bundle = bundle
        self._provider = provider
        self._allow_fallback = allow_fallback
        self._threads = threads
        self._profiled = audit or provider.name != CPU
        self._runtime = import_onnxruntime()
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        require_working(self._runtime, provider)

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named arrays, shapes and types as the manifest says; its outputs in order.

        Raises `bundle-corrupt` where onnxruntime cannot load the graph, `bundle-schema` where it is not what the
        manifest says, `device-missing` and `device-fallback`.
        """
        if graph not in self._sessions:
            with self._lock:
                if graph not in self._sessions:
                    return self._first_run(graph, inputs)
        return tuple(self._sessions[graph].run(None, inputs))

    def _first_run(self, graph: str, inputs: dict[str, Array]) -> tuple[Array, ...]:
        if not self._profiled:
            session = self._open(graph)
            outputs = tuple(session.run(None, inputs))
        else:
            with tempfile.TemporaryDirectory(prefix="maclip-") as folder:
                session = self._open(graph, profile_prefix=f"{folder}/{graph}")
                outputs = tuple(session.run(None, inputs))
                self._judge(graph, Path(session.end_profiling()))
        self._sessions[graph] = session
        return outputs

    def _judge(self, graph: str, profile: Path) -> None:
        try:
            placement = read_profile(profile.read_text(), graph, self._provider.name)
        except (OSError, ValueError) as error:
            log.warning("device: where %s ran cannot be told (%s)", graph, error)
            return
        self.placements[graph] = placement
        if not placement.strays:
            return
        if not self._allow_fallback:
            raise MaclipError(
                "device-fallback",
                f"The device {self.device!r} does not run all of the bundle: {placement}.",
                "Use another --device, or accept it with --allow-fallback.",
                EXIT_MACHINE_LACKS,
            )
        log.warning("device: %s", placement)

    def _open(self, graph: str, profile_prefix: str | None = None) -> Any:
        options = session_options(self._runtime, self._threads)
        if profile_prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile_prefix
        state = self._runtime.capi.onnxruntime_pybind11_state
        try:
            session = open_session(self._runtime, self._provider, str(self._bundle.graph_file(graph)), options)
        except (state.InvalidProtobuf, state.InvalidGraph, state.NotImplemented, state.Fail) as error:
            raise MaclipError(
                "bundle-corrupt",
                f"onnxruntime {self._runtime.__version__} cannot load the {graph} graph ({first_line(error)}).",
                "Update onnxruntime, or export the bundle again.",
            ) from error
        spec = self._bundle.manifest.graphs[graph]
        spec.require(_tensors(session.get_inputs()), _tensors(session.get_outputs()))
        return session


def session_options(runtime: Any, threads: int | None) -> Any:
    """How every session is opened. `threads` None takes each core that this process may use."""
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads or usable_cores()
    return options


def _tensors(found: Any) -> list[tuple[str, str]]:
    return [(tensor.name, ONNX_DTYPES.get(tensor.type, tensor.type)) for tensor in found]
