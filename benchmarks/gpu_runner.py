"""The runner of `benchmarks.gpu`: one bundle on one device, in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.streaming_runners import FRAMES
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.tools.measuring.memory import resident_mib

CLASSES, WARM_UPS = 5, 3
MIB = 2**20


@dataclass(frozen=True)
class Facts:
    """What a runner says when it is ready: features [T, D'] and probabilities [C] of one clip, seconds and MiB."""

    features: Any
    probabilities: Any
    first_s: float
    gpu_mib: float | None
    resident_mib: float | None


class Runner:
    """One bundle on one device, by the runtime's own encoder."""

    def __init__(self, bundle: Path, device: str) -> None:
        from maclip_runtime.bundle.opening import Bundle

        before = gpu_used_mib()
        opened = Bundle.open(bundle)
        self._encoder = Encoder(opened, device)
        size = opened.manifest.preprocess.size
        random = np.random.default_rng(0)
        clips = random.integers(0, 256, (1 + CLASSES, FRAMES, size, size, 3), dtype=np.uint8)
        self._clip = clips[:1]
        begun = time.perf_counter()
        features = self._encoder.features(self._clip)
        first_s = time.perf_counter() - begun
        self._tokens = self._encoder.stem(self._clip[0])[None]  # (1, T, N+1, D)
        prototypes = self._encoder.prototypes(np.concatenate([self._encoder.features(one[None]) for one in clips[1:]]))
        width = opened.manifest.feature_width
        no_text = np.zeros((CLASSES, width), np.float32), np.zeros(CLASSES, np.bool_)
        probabilities = self._encoder.match(features, prototypes, *no_text).probabilities
        for _ in range(WARM_UPS):
            self.turn("clip")
            self.turn("step")
        after = gpu_used_mib()
        used = None if before is None or after is None else after - before
        self.facts = Facts(features[0], probabilities[0], first_s, used, resident_mib())

    def turn(self, work: str) -> float:
        """Seconds of one clip, or of one step of a stream."""
        begun = time.perf_counter()
        if work == "clip":
            self._encoder.features(self._clip)
        else:
            self._tokens[0, -1] = self._encoder.stem(self._clip[0, :1])[0]
            self._encoder.tower(self._tokens)
        return time.perf_counter() - begun


def gpu_used_mib() -> float | None:
    """What all processes hold of the first GPU; None without CUDA's Python bindings or without a GPU."""
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError):
        return None
    status, free, total = runtime.cudaMemGetInfo()
    return (total - free) / MIB if int(status) == 0 else None
