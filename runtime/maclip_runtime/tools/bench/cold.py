"""Cold start: the time from the start of a process to its first answer on a clip, and its parts."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError
from maclip_runtime.tools.bench.engine import open_bundle, open_encoder
from maclip_runtime.tools.bench.result import ColdStart
from maclip_runtime.tools.measuring.child import FreshPipe, run_alone
from maclip_runtime.tools.measuring.memory import resident_mib

LIMIT_S = 600.0  # of one start


def measure_cold_start(
    command: Sequence[str], bundle: str, gallery: str, clip: str, engine: dict[str, Any], runs: int
) -> ColdStart:
    """Start `command`, which answers for `clip`, `runs` times; and as often `first_answer`.

    Raises `bench-failed` where the command gives no answer.
    """
    took: list[float] = []
    apart: list[dict[str, Any]] = []
    for _ in range(runs):  # in turns: what disturbs the machine disturbs both alike
        took.append(_command_s(command))
        apart.append(run_alone(first_answer, bundle, gallery, clip, engine, limit_s=LIMIT_S))
    parts = {part: statistics.median(one["parts_s"][part] for one in apart) for part in apart[0]["parts_s"]}
    memory = [one["memory_mib"] for one in apart if one["memory_mib"] is not None]
    return ColdStart(tuple(took), parts, statistics.median(memory) if memory else None)


def first_answer(pipe: FreshPipe, bundle: str, gallery: str, clip: str, engine: dict[str, Any]) -> dict[str, Any]:
    """In a fresh process: classify one clip step by step, as `Recognizer.classify` does, and time each step."""
    marks = {"python": pipe.ready - pipe.begun}

    def mark(part: str) -> None:
        marks[part] = time.monotonic() - pipe.begun - sum(marks.values())

    import av
    import PIL.Image  # noqa: F401

    from maclip_runtime.engines.encoder import Encoder  # noqa: F401
    from maclip_runtime.gallery import Gallery
    from maclip_runtime.limits.measured import gallery_limits
    from maclip_runtime.matching.index import build_index
    from maclip_runtime.reading.clip import read_clip
    from maclip_runtime.reading.frames import prepare, segment_indices
    from maclip_runtime.recognizer import Recognizer  # noqa: F401

    del av
    mark("imports")
    opened = open_bundle(bundle, engine)
    mark("bundle check")
    encoder = open_encoder(opened, engine)
    mark("engine")
    manifest = opened.manifest
    read = read_clip(
        clip, partial(segment_indices, frames=manifest.frames), partial(prepare, preprocess=manifest.preprocess)
    )
    mark("clip")
    features = encoder.features(read.frames[None])
    mark("network")
    with Gallery(gallery, contract=manifest.contract) as kept:
        index = build_index(kept, encoder, partial(gallery_limits, kept, encoder))
        mark("gallery")
        assert index is not None
        encoder.match(features, index.prototypes, index.text, index.has_text, prepared=True)
    mark("match")
    return {"parts_s": marks, "memory_mib": resident_mib()}


def _command_s(command: Sequence[str]) -> float:
    begun = time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    took = time.monotonic() - begun
    if done.returncode != 0 or not done.stdout.strip():
        fix = f"Run it by hand: {' '.join(command)}"
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise MaclipError("bench-failed", f"The command gave no answer: {said[:300]}.", fix, EXIT_OUR_FAULT)
    return took
