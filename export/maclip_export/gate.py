"""The gate: every written graph is run on real frames and compared with torch; a miss refuses the bundle."""

from __future__ import annotations

import itertools
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


class Gate:
    """Compares graphs of `model` with torch on real `clips` uint8 [n, T, H, W, 3] and `names` f32 [m, D'].

    All graphs are asked about the same clips, so torch computes their features once.
    """

    def __init__(self, model: MaClip, clips: Tensor, names: Tensor) -> None:
        self._model, self._clips, self._names = model, clips, names
        self._features: dict[int, Tensor] = {}
        self._tokens: Tensor | None = None

    def check(self, graph: Graph, path: Path) -> GateFigure:
        """Run the graph at `path` on every case: the worst figures. Raises `precision-rejected` beyond the limit."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        relative, cosine, cases = 0.0, 1.0, 0
        for case in self._cases(graph):
            feed = {spec.name: x.numpy() for spec, x in zip(graph.inputs, case.inputs, strict=True)}
            found = session.run([spec.name for spec in graph.outputs], feed)
            for ours, theirs in zip(found, case.expected, strict=True):
                relative = max(relative, _relative(ours, theirs.numpy()))
                cosine = min(cosine, _cosine(ours, theirs.numpy()))
            cases += 1
        if not relative <= FLOAT32_LIMIT:  # also true of NaN
            raise MaclipError(
                "precision-rejected",
                f"{graph.name}.onnx differs from torch by {relative:.1e} where {FLOAT32_LIMIT:.0e} is allowed.",
                "Report this with the model and the versions of torch and onnxruntime; nothing was written.",
            )
        return GateFigure(relative, cosine, FLOAT32_LIMIT, cases)

    @torch.no_grad()
    def _cases(self, graph: Graph) -> Iterator[Case]:
        """One clip, two and all; each with text for every clip, for none, and for every second one."""
        counts = sorted({1, min(2, len(self._clips)), len(self._clips)})
        for count, every in itertools.product(counts, (1, 0, 2)):
            if graph.name == "stem" and every:
                continue  # takes no text
            yield self._case(graph, count, every)

    def _case(self, graph: Graph, count: int, every: int) -> Case:
        text, has_text = (x[:count] for x in self._text(every))
        clips = self._clips[:count]
        # Torch treats each clip of a batch by itself, so that what it found for all holds for the first few.
        if graph.name == "stem":
            return Case((clips.flatten(0, 1),), (self._stem()[:count].flatten(0, 1),))
        features = self._tower(every)[:count]
        if graph.name == "visual":
            return Case((clips, text, has_text), (features,))
        if graph.name == "tower":
            return Case((self._stem()[:count], text, has_text), (features,))
        prototypes = self._model.prototypes(features, text, has_text)
        if graph.name == "prototype":
            return Case((features, text, has_text), (prototypes,))
        queries = self._tower(0)[:count]
        return Case((queries, prototypes, text, has_text), self._model.match(queries, prototypes, text, has_text))

    def _text(self, every: int) -> tuple[Tensor, Tensor]:
        """A text for every clip (1), for none (0), or for every second one (2): [n, D'], bool [n]."""
        count = torch.arange(len(self._clips))
        has_text = count % every == 0 if every else torch.zeros(len(count), dtype=torch.bool)
        return self._names[count % len(self._names)] * has_text[:, None], has_text

    def _stem(self) -> Tensor:
        if self._tokens is None:
            self._tokens = self._model.stem(self._clips.flatten(0, 1)).unflatten(0, self._clips.shape[:2])
        return self._tokens

    def _tower(self, every: int) -> Tensor:
        if every not in self._features:
            self._features[every] = self._model.tower(self._stem(), *self._text(every))
        return self._features[every]


def _relative(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-12))


def _cosine(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    """The worst cosine along the last axis."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / np.maximum(norms, 1e-12)).min())
