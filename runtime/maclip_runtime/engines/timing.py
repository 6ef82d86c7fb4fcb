"""How long a step takes with each engine that is installed, measured on a bundle's own graphs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import OPENVINO, Array, Engine
from maclip_runtime.engines.choice import Timing, keep_timings, works
from maclip_runtime.engines.opening import open_on
from maclip_runtime.errors import MaclipError, first_line

SECONDS = 2.0  # for each device, all its forms together
WARM_RUNS, MIN_RUNS, MAX_RUNS = 2, 3, 40

log = logging.getLogger("maclip")


def measure(bundle: Bundle, *, note: Callable[[str], None] = lambda text: None) -> tuple[Timing, ...]:
    """Time the devices that "auto" may choose, about two seconds each, and keep the result in the cache.

    bundle: an opened bundle.
    note: called with what is being measured.
    """
    found = time_devices(bundle, candidates(bundle.manifest), note=note)
    if found:
        keep_timings(bundle, found)
    return found


def candidates(manifest: Manifest) -> tuple[str, ...]:
    """The devices here that need no engine built first and compute in no less than the bundle's precision."""
    openvino = OPENVINO if manifest.precision == "int8" else "openvino-f32"
    return tuple(device for device in ("cuda", "cpu", openvino) if works(device))


def time_devices(
    bundle: Bundle,
    devices: Sequence[str],
    *,
    seconds: float = SECONDS,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Timing, ...]:
    """What each device takes in each form of the bundle, the fastest first; one that fails is left out with a line."""
    forms = bundle.manifest.form_names
    found = []
    for device in devices:
        for form in forms or (None,):
            note(f"timing {device}{f' ({form})' if form else ''}")
            view = bundle.in_form(form) if form else bundle
            try:
                engine = open_on(view, device)
                try:
                    step_s = time_step(engine, view.manifest, seconds / max(1, len(forms)))
                finally:
                    engine.close()
            except (MaclipError, RuntimeError, ValueError) as error:  # engines do not document theirs
                log.warning("device: %s cannot be timed (%s)", device, first_line(error))
                continue
            found.append(Timing(device, form, round(1e3 * step_s, 4)))
    return tuple(sorted(found, key=lambda one: one.step_ms))


def time_step(engine: Engine, manifest: Manifest, seconds: float) -> float:
    """The best seconds of a step: the stem on one frame and the tower on a clip, or the visual graph on a clip.

    seconds: for how long steps are repeated, after two that do not count.
    """
    random = np.random.default_rng(0)
    size, frames = manifest.preprocess.size, manifest.frames
    pixels = random.integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    text = {"text": np.zeros((1, manifest.feature_width), np.float32), "has_text": np.zeros(1, np.bool_)}
    if "visual" in manifest.graphs:
        work: Callable[[], Any] = lambda: engine.run("visual", frames=pixels[None], **text)  # noqa: E731
    else:
        spec = manifest.graphs["tower"].inputs[0]
        noise = random.standard_normal((1, *spec.shape[1:]), np.float32)  # type: ignore[arg-type]
        tokens: Array = noise.astype(spec.dtype)

        def work() -> None:
            engine.run("stem", frames=pixels[:1])
            engine.run("tower", tokens=tokens, **text)

    for _ in range(WARM_RUNS):
        work()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < MIN_RUNS or (time.perf_counter() < end and len(took) < MAX_RUNS):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)
