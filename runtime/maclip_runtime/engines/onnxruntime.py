"""Runs the bundle's graphs with onnxruntime, on one of its providers, and finds out whether it did."""

from __future__ import annotations

import functools
import logging
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.audit import CPU, Placement, read_profile
from maclip_runtime.engines.base import Array, first_line, usable_cores
from maclip_runtime.engines.pieces import rows_at_once, run_in_pieces
from maclip_runtime.engines.providers import ERRORS_ONLY, Provider, import_onnxruntime, open_session, require_working
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

ONNX_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(bool)": "bool", "tensor(int64)": "int64"}

AS_ASKED_FOR = 1  # an arena's strategy; the other doubles what it takes each time

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
        self._profiles: dict[str, tempfile.TemporaryDirectory[str]] = {}  # of graphs that have not been run yet
        self._lock = threading.Lock()
        require_working(self._runtime, provider)

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named arrays, shapes and types as the manifest says; its outputs in order.

        Raises `bundle-corrupt` where onnxruntime cannot load the graph, `bundle-schema` where it is not what the
        manifest says, `device-missing` and `device-fallback`; ValueError for arrays that the graph does not take.
        """
        session = self._session(graph)
        spec = self._bundle.manifest.graphs[graph]
        most = rows_at_once(spec) if self._provider.name == CPU else sys.maxsize
        outputs = run_in_pieces(spec, inputs, most, lambda piece: tuple(session.run(None, piece)))
        if (profile := self._profiles.pop(graph, None)) is not None:
            with profile:
                self._judge(graph, session)
        return outputs

    def close(self) -> None:
        """Free the loaded graphs. Closing twice does nothing."""
        with self._lock:
            self._sessions.clear()
            while self._profiles:
                self._profiles.popitem()[1].cleanup()

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                if self._profiled:
                    self._profiles[graph] = tempfile.TemporaryDirectory(prefix="maclip-")
                self._sessions[graph] = self._open(graph)
            return self._sessions[graph]

    def _judge(self, graph: str, session: Any) -> None:
        try:
            placement = read_profile(Path(session.end_profiling()).read_text(), graph, self._provider.name)
        except (OSError, ValueError) as error:
            log.warning("device: where %s ran cannot be told (%s)", graph, error)
            return
        self.placements[graph] = placement
        if not placement.strays:
            return
        if not self._allow_fallback:
            del self._sessions[graph]  # so that the next run says it again
            raise MaclipError(
                "device-fallback",
                f"The device {self.device!r} does not run all of the bundle: {placement}.",
                "Use another --device, or accept it with --allow-fallback.",
                EXIT_MACHINE_LACKS,
            )
        log.warning("device: %s", placement)

    def _open(self, graph: str) -> Any:
        options = session_options(self._runtime, self._threads)
        if graph in self._profiles:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._profiles[graph].name) / graph)
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
    """How every session is opened. `threads` None takes each core that this process may use.

    Measured with ViT-B/16 in int8, four blocks adapted, onnxruntime 1.31 (`python -m benchmarks.session_options`):
    threads that wait for work in a loop cost 0.73 s of the processor a step, those that sleep 0.42 s, and they take
    the cores from other sessions and from the rest of a robot. Resident memory after batches of four: 2,190 MiB as
    onnxruntime comes, 734 with batches in pieces of one clip, 492 without a plan of memory for each size of batch,
    366 where all sessions share one arena that grows by what is asked for. No arena at all takes 209, but each step
    faults in 133 MiB anew and costs 0.52 s.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads or usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    if _arena_is_shared(runtime):
        options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@functools.cache  # one arena for the process
def _arena_is_shared(runtime: Any) -> bool:
    settings = {"max_mem": 0, "arena_extend_strategy": AS_ASKED_FOR, "initial_chunk_size_bytes": -1}
    settings["max_dead_bytes_per_chunk"] = -1  # -1: onnxruntime's own
    kind, memory = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, runtime.OrtMemType.DEFAULT
    try:
        runtime.create_and_register_allocator(
            runtime.OrtMemoryInfo("Cpu", kind, 0, memory), runtime.OrtArenaCfg(settings)
        )
    except Exception as error:  # the program around us has registered its own, which is as good
        log.debug("onnxruntime: no arena of ours (%s)", first_line(error))
        return False
    return True


def _tensors(found: Any) -> list[tuple[str, str]]:
    return [(tensor.name, ONNX_DTYPES.get(tensor.type, tensor.type)) for tensor in found]
