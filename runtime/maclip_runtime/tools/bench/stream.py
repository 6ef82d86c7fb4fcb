"""A stream's steps: files are watched at full speed, and the time between two answers is split into stages."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict
from statistics import median
from typing import Any

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Verdict
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Frame
from maclip_runtime.tools.bench.result import NETWORK, OTHER, STEP_STAGES
from maclip_runtime.tools.measuring.child import Pipe
from maclip_runtime.tools.measuring.memory import peak_resident_mib, resident_mib
from maclip_runtime.tools.measuring.spread import Times

WARM_STEPS = 3  # not counted: graphs are loaded and memory is allocated


class StepClock(Callbacks):
    """Splits the time between two answers into stages, and ends the watching after `seconds`.

    `steps` holds the seconds of each stage of each step; time that belongs to none is "other". The first window of a
    source is not a step: it waits for a whole window of video.
    """

    def __init__(self, seconds: float) -> None:
        self.steps: list[dict[str, float]] = []
        self.frames = self.answers = 0
        self._wanted_s = seconds
        self._stages: dict[str, float] = defaultdict(float)
        self._warm = 0
        self._last: float | None = None
        self._began: float | None = None

    def restart(self) -> None:
        """Another source begins: its first answer ends no step."""
        self._last = None
        self._stages.clear()

    @property
    def seconds(self) -> float:
        """For how long frames and answers were counted."""
        return 0.0 if self._began is None or self._last is None else self._last - self._began

    def frame(self, source: str, frame: Frame) -> None:
        """Counted once the clock runs."""
        self.frames += self._began is not None

    def timing(self, stage: str, seconds: float) -> None:
        """Adds up to the step that ends with the next answer."""
        self._stages[stage] += seconds

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """A step has ended. Raises `Enough` where the time is over."""
        now, last = time.perf_counter(), self._last
        self._last = now
        if self._began is None:
            self._warm += 1
            if self._warm >= WARM_STEPS:
                self._began = now
        else:
            self.answers += 1
            if last is not None:
                stages = dict(self._stages)
                self.steps.append({**stages, OTHER: max(0.0, now - last - sum(stages.values()))})
        self._stages.clear()
        if self.steps and self.seconds >= self._wanted_s:
            raise Enough


class Enough(BaseException):
    """Measured for long enough: ends the watching. Not an `Exception`, because those of callbacks are caught."""


def stream(
    pipe: Pipe,
    bundle: str,
    gallery: str,
    sources: list[str],
    window_s: float,
    hop_s: float,
    seconds: float,
    engine: dict[str, Any],
) -> dict[str, Any]:
    """In a fresh process: watch `sources` together, in a loop, for `seconds`.

    Returns the fields of `Sources`, and for one source those of `Streaming` too. Raises `clip-too-short` where a source
    is shorter than two windows.
    """
    from maclip_runtime.recognizer import Recognizer

    clock = StepClock(seconds)
    with Recognizer.open(bundle, gallery, **engine) as recognizer, suppress(Enough):
        while True:
            clock.restart()
            before = len(clock.steps)
            for _ in recognizer.watch(sources, window_s=window_s, hop_s=hop_s, callbacks=[clock]):
                pass
            if clock.answers and len(clock.steps) == before:
                raise MaclipError(
                    "clip-too-short",
                    f"{sources[0]} is shorter than two windows of {window_s:g} s.",
                    "Give a longer --source, or none.",
                )
    figures: dict[str, Any] = {
        "device": recognizer.encoder.device,
        "frames_per_second": clock.frames / clock.seconds,
        "windows_per_second": clock.answers / clock.seconds,
        "seconds": clock.seconds,
        "memory_mib": resident_mib(),
        "peak_mib": peak_resident_mib(),
    }
    return {**figures, **_taken_apart(clock.steps)} if len(sources) == 1 else figures


def _taken_apart(steps: list[dict[str, float]]) -> dict[str, Any]:
    whole = [sum(step.values()) for step in steps]
    network = [sum(step.get(stage, 0.0) for stage in NETWORK) for step in steps]
    seen = [stage for stage in STEP_STAGES if any(stage in step for step in steps)]
    return {
        "stages": {stage: asdict(Times.of([step.get(stage, 0.0) for step in steps])) for stage in seen},
        "step": asdict(Times.of(whole)),
        "beside_network": median(1 - own / took for own, took in zip(network, whole, strict=True)),
    }
