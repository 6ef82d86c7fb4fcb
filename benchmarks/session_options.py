"""What onnxruntime's settings cost in memory and processor time, each in a process of its own.

    python -m benchmarks.session_options BUNDLE [--json FILE]     # a bundle with stem and tower

A streaming step (one frame through the stem, one window through the tower), then clips and batches of up to four. The
settings are added one to another, as `maclip_runtime.engines.onnxruntime.session_options` sums them up; "no arena" is
what was not taken. Processor time, not the clock's, so that a busy machine changes little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.onnxruntime import SAME_AS_REQUESTED
from maclip_runtime.engines.pieces import rows_at_once, run_in_pieces

SETTINGS = (
    "default",
    "sleep",
    "sleep pieces",
    "sleep pieces unplanned",
    "sleep pieces unplanned shared",
    "sleep pieces unplanned no-arena",
)
STEPS, BATCH, THREADS = 6, 4, 2


def measure(path: Path, setting: str) -> dict[str, float]:
    """One setting: processor milliseconds a step, pages faulted a step, MiB resident after steps and after batches."""
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

    def run(graph: str, **inputs: Any) -> Any:
        spec = bundle.manifest.graphs[graph]
        most = rows_at_once(spec) if "pieces" in parts else sys.maxsize
        return run_in_pieces(spec, inputs, most, lambda piece: tuple(sessions[graph].run(None, piece)))[0]

    size, length, width = bundle.manifest.preprocess.size, bundle.manifest.frames, bundle.manifest.feature_width
    frames = np.random.default_rng(0).integers(0, 256, (BATCH * length, size, size, 3)).astype(np.uint8)

    def pass_through(windows: int, new: int) -> None:
        tokens = run("stem", frames=frames[: windows * new])
        window = np.resize(tokens, (windows, length, *tokens.shape[1:]))
        run("tower", tokens=window, text=np.zeros((windows, width), np.float32), has_text=np.zeros(windows, bool))

    pass_through(1, 1)
    spent, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(STEPS):
        begun = time.process_time()
        pass_through(1, 1)
        time.sleep(0.1)  # threads that wait for work in a loop do so now
        spent.append(time.process_time() - begun)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) // STEPS
    steps = resident()
    for windows, new in ((1, length), (4, 1), (2, length), (3, 1), (4, length), (1, 1), (3, length), (1, 1)):
        pass_through(windows, new)
    return {"ms": min(spent) * 1e3, "faults": faults, "mib_steps": steps, "mib_batches": resident()}


def resident() -> int:
    """MiB of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


def main() -> None:
    """Print a row for each setting, and write all to --json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.setting:
        print(json.dumps(measure(options.bundle, options.setting)))
        return
    found: dict[str, dict[str, float]] = {}
    print(f"{'setting':34}{'ms a step':>10}{'faults':>8}{'MiB, steps':>12}{'MiB, batches':>14}")
    for setting in SETTINGS:
        command = [sys.executable, "-m", "benchmarks.session_options", str(options.bundle), "--setting", setting]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found[setting] = row
        print(
            f"{setting:34}{row['ms']:10.0f}{row['faults']:8.0f}{row['mib_steps']:12}{row['mib_batches']:14}", flush=True
        )
    if options.json:
        import onnxruntime

        facts = {"onnxruntime": onnxruntime.__version__, "bundle": Bundle.open(options.bundle).manifest.precision}
        options.json.write_text(json.dumps({**facts, "settings": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
