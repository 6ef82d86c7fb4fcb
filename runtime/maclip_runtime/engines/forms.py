"""The int8 form of a bundle that an engine opens, and one line where the bundle holds only a slow one."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from maclip_runtime.bundle.figures import in_ms
from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import OPENVINO, TENSORRT_DEVICES, is_openvino

if TYPE_CHECKING:
    from maclip_runtime.engines.choice import Timing

ONNXRUNTIME = "onnxruntime"
# How many times longer a step takes than in the engine's other form, where a bundle has no figures of its own:
# ViT-B/16 on x86-64 (docs/performance.md). No other engine runs the dynamic form in int8.
USUAL_LOSS = {(ONNXRUNTIME, "static"): 2.0, (OPENVINO, "dynamic"): 5.0}


def engine_of(device: str) -> str:
    """The engine behind a --device value: "onnxruntime", "openvino" or "tensorrt"."""
    if is_openvino(device):
        return OPENVINO
    return "tensorrt" if device in TENSORRT_DEVICES else ONNXRUNTIME


def usual_form(device: str) -> str:
    """The form that is faster by rule: dynamic for onnxruntime on the CPU, static for every other engine."""
    return "dynamic" if device == "cpu" else "static"


def best_form(manifest: Manifest, device: str, timings: tuple[Timing, ...] = ()) -> str | None:
    """The form in the bundle that `device` runs fastest; None where the bundle is not int8.

    timings: what was measured on this machine; it decides. Else the pairs decide that the export measured on this
    architecture, else `usual_form`.
    """
    held = manifest.form_names
    if len(held) < 2:
        return held[0] if held else None
    measured = [one for one in timings if one.device == device and one.form in held]
    if measured:
        return min(measured, key=lambda one: one.step_ms).form
    named = named_form(manifest, device)
    return named if named in held else held[0]


def in_best_form(bundle: Bundle, device: str, timings: tuple[Timing, ...] = ()) -> Bundle:
    """The bundle as if `best_form` were its only int8 form; unchanged where it is not int8."""
    form = best_form(bundle.manifest, device, timings)
    return bundle if form is None else bundle.in_form(form)


def named_form(manifest: Manifest, device: str) -> str:
    """The form that the manifest names for the engine of `device`, or else the rule; the bundle may not hold it."""
    pairs = manifest.pairs
    if pairs is None or pairs.architecture != platform.machine() or not _on_cpu(device):
        return usual_form(device)
    of_engine = [pair for pair in pairs.measured if pair.engine == engine_of(device)]
    return min(of_engine, key=lambda pair: pair.step_ms).form if len(of_engine) > 1 else usual_form(device)


def slow_form(manifest: Manifest, device: str) -> str | None:
    """One line where the bundle holds only the form that the engine of `device` runs slowly; else None."""
    held, named = manifest.form_names, named_form(manifest, device)
    if not held or named in held or device in TENSORRT_DEVICES:  # these raise `precision-unsupported`
        return None
    engine, (form,) = engine_of(device), held
    if (engine, form) not in USUAL_LOSS:
        figure = "not in int8"
    elif (pairs := manifest.pairs) and (slow := pairs.find(engine, form)) and (fast := pairs.find(engine, named)):
        figure = f"{in_ms(slow.step_ms)} ms a step where {named} takes {in_ms(fast.step_ms)}, on {pairs.machine}"
    else:
        figure = f"about {USUAL_LOSS[engine, form]:g} times the milliseconds of {named}"
    other = "openvino" if form == "static" else "cpu"
    return (
        f"the bundle holds only the {form} int8 form, which {engine} runs slowly ({figure}); export it with --int8 "
        f"--quantization both, or use --device {other}"
    )


def _on_cpu(device: str) -> bool:
    """Whether the export's figures, which are those of a CPU, say something about `device`."""
    return device in ("cpu", OPENVINO, "openvino-f32")
