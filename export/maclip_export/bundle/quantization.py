"""The better int8 form for this model: both are made, compared with torch and timed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from maclip_export.gate.gate import QUANTIZED, Gate, within_limits
from maclip_export.graphs import Graph
from maclip_export.onnx.precision import to_dynamic_int8, to_static_int8
from maclip_export.onnx.sessions import open_session
from maclip_export.options import ExportOptions
from maclip_export.report import Candidate
from maclip_runtime.bundle.manifest import GateFigure

REPEATS = 5
FORMS = ("dynamic", "static")


def quantize(
    graphs: Sequence[Graph],
    folder: Path,
    gate: Gate,
    calibration: Gate | None,
    options: ExportOptions,
    note: Callable[[str], None],
) -> list[Candidate]:
    """Replace the visual graphs in `folder` by int8 ones; returns the forms that were tried, the chosen one first.

    With "auto" both forms are tried. Of those within the gate's limits the faster one is kept; if none is, the closer
    one, and the gate decides. The static form is calibrated on the clips of `calibration`.
    """
    visual = [graph for graph in graphs if graph.name in QUANTIZED]
    forms = FORMS if options.quantization == "auto" else (options.quantization,)
    tried = []
    for form in forms:
        note(f"quantizing ({form})")
        place = folder / f".{form}"
        place.mkdir()
        tried.append(_try(form, visual, folder, place, gate, calibration))
    tried.sort(key=lambda c: (not c.passes, c.clip_ms if c.passes else -c.cosine))
    for graph in visual:
        for name in (f"{graph.name}.onnx", f"{graph.name}.onnx.data"):
            (folder / f".{tried[0].form}" / name).replace(folder / name)
    for form in forms:
        shutil.rmtree(folder / f".{form}")
    return tried


def _try(
    form: str, graphs: Sequence[Graph], folder: Path, place: Path, gate: Gate, calibration: Gate | None
) -> Candidate:
    figures: list[GateFigure] = []
    milliseconds = 0.0
    for graph in graphs:
        path, out = folder / f"{graph.name}.onnx", place / f"{graph.name}.onnx"
        if form == "dynamic":
            to_dynamic_int8(path, out)
        else:
            assert calibration is not None
            to_static_int8(path, out, calibration.feeds(graph))
        figures.append(gate.measure(graph, out)[0])
        milliseconds += _time(out, gate.feeds(graph)[0])
        if graph.name == "stem":
            gate.use_stem(out)
    return Candidate(form, figures[-1].cosine, milliseconds, all(within_limits(figure) for figure in figures))


def _time(path: Path, feed: dict[str, Any]) -> float:
    """The fastest of a few runs, in milliseconds: slower ones measure what else the machine does."""
    session = open_session(path)
    times = []
    for _ in range(REPEATS + 1):  # the first one warms up
        begun = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - begun)
    return 1000 * min(times[1:])
