"""The int8 forms of a network: each is made, compared with torch, and kept if it is within the limits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maclip_export.gate.gate import QUANTIZED, Gate, within_limits
from maclip_export.graphs import Graph
from maclip_export.onnx.precision import to_dynamic_int8, to_static_int8
from maclip_export.onnx.sharing import share_weights
from maclip_runtime.bundle.figures import GateAccuracy, GateFigure
from maclip_runtime.bundle.manifest import FORMS
from maclip_runtime.bundle.opening import weights_file

Accuracy = Callable[[dict[str, Path]], GateAccuracy | None]


@dataclass(frozen=True)
class Tried:
    """One int8 form: its graphs' files, the gate's figures of each, and the accuracy (None: not compared)."""

    form: str
    files: dict[str, Path]
    figures: dict[str, GateFigure]
    accuracy: GateAccuracy | None

    @property
    def passes(self) -> bool:
        """Whether everything is within its limits."""
        accurate = self.accuracy is None or self.accuracy.loss + self.accuracy.interval <= self.accuracy.limit
        return accurate and all(within_limits(figure) for figure in self.figures.values())

    @property
    def cosine(self) -> float:
        """The worst cosine of the features."""
        return self.figures[next(name for name in ("visual", "tower") if name in self.figures)].cosine


def try_forms(
    graphs: Sequence[Graph],
    folder: Path,
    gate: Gate,
    calibration: Gate | None,
    quantization: str,
    accuracy: Accuracy,
    note: Callable[[str], None],
) -> list[Tried]:
    """Make the int8 forms of the network in `folder`, each in a folder of its own in there, and measure them.

    graphs: those of the bundle; the ones of the network are quantized.
    gate: compares with torch.
    calibration: its clips give the ranges of the static form.
    quantization: "both", "dynamic" or "static".
    accuracy: compares the few-shot accuracy of a network's files with torch's.
    note: called with a sentence at each step.
    """
    network = [graph for graph in graphs if graph.name in QUANTIZED]
    tried = []
    for form in FORMS if quantization == "both" else (quantization,):
        note(f"quantizing ({form})")
        place = folder / f".{form}"
        place.mkdir()
        files: dict[str, Path] = {}
        figures: dict[str, GateFigure] = {}
        for graph in network:
            path, out = folder / f"{graph.name}.onnx", place / f"{graph.name}.onnx"
            if form == "dynamic":
                to_dynamic_int8(path, out)
            else:
                assert calibration is not None
                to_static_int8(path, out, calibration.feeds(graph))
            files[graph.name] = out
            figures[graph.name] = gate.measure(graph, out)[0]
            if graph.name == "stem":
                gate.use_stem(out)
        tried.append(Tried(form, files, figures, accuracy(files)))
    return tried


def keep_forms(kept: Sequence[Tried], folder: Path) -> dict[str, dict[str, Path]]:
    """Put the graphs of the kept forms into `folder` in place of the float ones, their weights in one file a graph.

    Returns the files by form and graph. The first form's are called like the float ones. What else was tried is
    removed.
    """
    placed: dict[str, dict[str, Path]] = {one.form: {} for one in kept}
    for name in kept[0].files:
        for number, one in enumerate(kept):
            placed[one.form][name] = folder / (f"{name}.{one.form}.onnx" if number else f"{name}.onnx")
        share_weights(
            [one.files[name] for one in kept], [placed[one.form][name] for one in kept], folder / weights_file(name)
        )
    for form in FORMS:
        shutil.rmtree(folder / f".{form}", ignore_errors=True)
    return placed
