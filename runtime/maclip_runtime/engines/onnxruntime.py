"""Run the bundle's graphs with one of onnxruntime's providers, and check that they ran there."""

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
from maclip_runtime.engines.base import Array, usable_cores
from maclip_runtime.engines.pieces import rows_at_once, run_in_pieces
from maclip_runtime.engines.providers import ERRORS_ONLY, Provider, import_onnxruntime, open_session, require_working
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError, first_line

ONNX_DTYPES = {
    "tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(bool)": "bool",
    "tensor(int64)": "int64",
}  # fmt: skip
SAME_AS_REQUESTED = 1  # how an arena grows; onnxruntime's default doubles it each time

log = logging.getLogger("maclip")


class OnnxEngine:
    """The graphs of one bundle with one provider.

    bundle: the bundle whose graphs are run.
    provider: the execution provider to run them on.
    allow_fallback: only warn about nodes that ran elsewhere; default: raise `device-fallback`.
    threads: CPU threads of a session; default: one for each usable core.
    audit: profile the CPU provider too, which has nowhere to fall back to.

    The first run of each graph is profiled; `placements` holds the results by graph. Raises `device-missing` where the
    provider does not start on this machine.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider,
        *,
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
        """Run one graph on named inputs with the manifest's shapes and dtypes; returns its outputs in order.

        Raises `bundle-corrupt` where onnxruntime cannot load the graph, `bundle-schema` where the manifest describes
        another graph, `device-missing` and `device-fallback`; ValueError for inputs of another shape.
        """
        session = self._session(graph)
        spec = self._bundle.manifest.graphs[graph]
        max_rows = rows_at_once(spec) if self._provider.name == CPU else sys.maxsize
        outputs = run_in_pieces(spec, inputs, max_rows, lambda piece: tuple(session.run(None, piece)))
        if (profile := self._profiles.pop(graph, None)) is not None:
            with profile:
                self._check_placement(graph, session)
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

    def _check_placement(self, graph: str, session: Any) -> None:
        try:
            placement = read_profile(Path(session.end_profiling()).read_text(), graph, self._provider.name)
        except (OSError, ValueError) as error:
            log.warning("device: cannot tell where %s ran (%s)", graph, error)
            return
        self.placements[graph] = placement
        if not placement.fallback_nodes:
            return
        if not self._allow_fallback:
            del self._sessions[graph]  # so that the next run raises again
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
    """The options of every session. `threads` None: one for each core that this process may use.

    Measured with ViT-B/16 in int8, four adapted blocks, onnxruntime 1.31 (`python -m benchmarks.session_options`).
    Processor time per step: 0.73 s with spinning threads, 0.42 s without; spinning also takes the cores from other
    processes. Resident memory after batches of four: 2,190 MiB with onnxruntime's defaults, 734 with batches split into
    single clips, 492 also without memory patterns, 366 also with one arena shared by all sessions that grows by the
    requested size. Without an arena it is 209 MiB, but each step faults in 133 MiB again and takes 0.52 s.
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
    settings = {"max_mem": 0, "arena_extend_strategy": SAME_AS_REQUESTED, "initial_chunk_size_bytes": -1}
    settings["max_dead_bytes_per_chunk"] = -1  # -1: onnxruntime's default
    kind, memory = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, runtime.OrtMemType.DEFAULT
    try:
        runtime.create_and_register_allocator(
            runtime.OrtMemoryInfo("Cpu", kind, 0, memory), runtime.OrtArenaCfg(settings)
        )
    except Exception as error:  # the program that embeds us has registered its own
        log.debug("onnxruntime: no shared arena (%s)", first_line(error))
        return False
    return True


def _tensors(found: Any) -> list[tuple[str, str]]:
    return [(tensor.name, ONNX_DTYPES.get(tensor.type, tensor.type)) for tensor in found]
