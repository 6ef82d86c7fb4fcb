"""What onnxruntime's settings cost in memory and processor time, each in a process of its own.

    python -m benchmarks.session_options BUNDLE [--smallest] [--json FILE]     # a bundle with stem and tower

A streaming step (one frame through the stem, one window through the tower), then clips and batches of up to four. The
settings are added one to another, as `maclip_runtime.engines.onnxruntime.session_options` sums them up; "no-arena" was
tried and not adopted. Times are processor time, not wall time, so that a busy machine changes little.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import bundle_facts, parse, parser, run
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.onnxruntime import SAME_AS_REQUESTED
from maclip_runtime.engines.pieces import rows_at_once, run_in_pieces
from maclip_runtime.tools.measuring.child import Pipe, run_alone
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.memory import resident_mib
from maclip_runtime.tools.measuring.output import results_console, table, write_json

SETTINGS = (
    "default",
    "sleep",
    "sleep pieces",
    "sleep pieces unplanned",
    "sleep pieces unplanned shared",
    "sleep pieces unplanned no-arena",
)
STEPS, BATCH, THREADS = 6, 4, 2
# Heading, key, decimal places.
COLUMNS = {"ms": ("ms", 1), "faults": ("faults", 0), "MiB, steps": ("mib_steps", 0), "MiB, batches": ("mib_batches", 0)}


def measure(pipe: Pipe, path: Path, setting: str, count: int) -> dict[str, float]:
    """One setting in a fresh process: processor ms and page faults a step, MiB after steps and after batches."""
    import resource

    import onnxruntime

    parts, bundle = setting.split(), Bundle.open(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.enable_mem_pattern = "unplanned" not in parts
    options.enable_cpu_mem_arena = "no-arena" not in parts
    if "sleep" in parts:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if "shared" in parts:
        options.add_session_config_entry("session.use_env_allocators", "1")
        kind, memory = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
        onnxruntime.create_and_register_allocator(
            onnxruntime.OrtMemoryInfo("Cpu", kind, 0, memory),
            onnxruntime.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": SAME_AS_REQUESTED}),
        )
    sessions = {
        graph: onnxruntime.InferenceSession(bundle.graph_file(graph), options, providers=["CPUExecutionProvider"])
        for graph in ("stem", "tower")
    }

    def run_graph(graph: str, **inputs: Any) -> Any:
        spec = bundle.manifest.graphs[graph]
        max_rows = rows_at_once(spec) if "pieces" in parts else sys.maxsize
        return run_in_pieces(spec, inputs, max_rows, lambda piece: tuple(sessions[graph].run(None, piece)))[0]

    size, length, width = bundle.manifest.preprocess.size, bundle.manifest.frames, bundle.manifest.feature_width
    frames = np.random.default_rng(0).integers(0, 256, (BATCH * length, size, size, 3)).astype(np.uint8)

    def pass_through(windows: int, new: int) -> None:
        tokens = run_graph("stem", frames=frames[: windows * new])
        window = np.resize(tokens, (windows, length, *tokens.shape[1:]))
        run_graph("tower", tokens=window, text=np.zeros((windows, width), np.float32), has_text=np.zeros(windows, bool))

    pass_through(1, 1)
    spent, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        begun = time.process_time()
        pass_through(1, 1)
        time.sleep(0.1)  # threads that wait for work in a loop do so now
        spent.append(time.process_time() - begun)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) // count
    steps = resident_mib() or 0.0
    for windows, new in ((1, length), (4, 1), (2, length), (3, 1), (4, length), (1, 1), (3, length), (1, 1)):
        pass_through(windows, new)
    return {"ms": min(spent) * 1e3, "faults": faults, "mib_steps": steps, "mib_batches": resident_mib() or 0.0}


def main() -> None:
    """Print a row for each setting, and write all to --json."""
    options = parser(__doc__)
    options.add_argument("bundle", type=Path)
    chosen = parse(options)
    machine = machine_facts()
    settings, count = (SETTINGS[:2], 1) if chosen.smallest else (SETTINGS, STEPS)
    found = {setting: run_alone(measure, chosen.bundle, setting, count) for setting in settings}
    rows = [
        (setting, *(f"{row[key]:,.{places}f}" for key, places in COLUMNS.values())) for setting, row in found.items()
    ]
    results_console().print(table("one step of a stream", ("setting", *COLUMNS), rows))
    if chosen.json:
        facts = {"machine": machine, "bundle": bundle_facts(chosen.bundle), "settings": found}
        write_json(chosen.json, facts)


if __name__ == "__main__":
    run(main)
