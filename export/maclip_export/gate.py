"""The gate: every written graph is run on real frames and compared with torch; a miss refuses the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maclip.model import MaClip
from maclip_export.graphs import Graph
from maclip_runtime.errors import MaclipError
from maclip_runtime.manifest import GateFigure

FLOAT32_LIMIT = 1e-4  # relative to the largest magnitude of the torch output


@dataclass(frozen=True)
class Case:
    """One run of a graph: its inputs in order, and torch's outputs for them."""

    inputs: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]


def check_graph(graph: Graph, path: Path, model: MaClip, clips: Tensor, names: Tensor) -> GateFigure:
    """Run `path` on every case made of `clips` uint8 [n, T, H, W, 3] and `names` f32 [m, D'].

    Returns the worst figures found. Raises `precision-rejected` beyond the limit.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    relative, cosine, cases = 0.0, 1.0, 0
    for case in _cases(graph, model, clips, names):
        feed = {spec.name: x.numpy() for spec, x in zip(graph.inputs, case.inputs, strict=True)}
        found = session.run([spec.name for spec in graph.outputs], feed)
        for ours, theirs in zip(found, case.expected, strict=True):
            relative = max(relative, _relative(ours, theirs.numpy()))
            cosine = min(cosine, _cosine(ours, theirs.numpy()))
        cases += 1
    figure = GateFigure(relative, cosine, FLOAT32_LIMIT, cases)
    if not relative <= FLOAT32_LIMIT:  # also true of NaN
        raise MaclipError(
            "precision-rejected",
            f"{graph.name}.onnx differs from torch by {relative:.1e} where {FLOAT32_LIMIT:.0e} is allowed.",
            "Report this with the model and the versions of torch and onnxruntime; nothing was written.",
        )
    return figure


def _cases(graph: Graph, model: MaClip, clips: Tensor, names: Tensor) -> Iterator[Case]:
    """All clips at once, two and one, each with text, without, and mixed where the graph takes text."""
    for count in sorted({1, min(2, len(clips)), len(clips)}):
        for every in (1, 0, 2):  # text for every clip, for none, for every second one
            inputs = _inputs(graph, model, clips[:count], names, every)
            with torch.no_grad():
                out = graph.module(*inputs)
            yield Case(inputs, out if isinstance(out, tuple) else (out,))
            if graph.name == "stem":
                break  # takes no text


def _inputs(graph: Graph, model: MaClip, clips: Tensor, names: Tensor, every: int) -> tuple[Tensor, ...]:
    count = len(clips)
    has_text = (torch.arange(count) % every == 0) if every else torch.zeros(count, dtype=torch.bool)
    text = names[torch.arange(count) % len(names)] * has_text[:, None]
    if graph.name == "stem":
        return (clips.flatten(0, 1),)
    if graph.name == "visual":
        return clips, text, has_text
    with torch.no_grad():
        tokens = model.stem(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        if graph.name == "tower":
            return tokens, text, has_text
        features = model.tower(tokens, text, has_text)
        if graph.name == "prototype":
            return features, text, has_text
        prototypes = model.prototypes(features, text, has_text)
        return model.tower(tokens), prototypes, text, has_text


def _relative(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-12))


def _cosine(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    """The worst cosine along the last axis."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / np.maximum(norms, 1e-12)).min())
