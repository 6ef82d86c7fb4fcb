"""The gate: each exported graph is run on real frames and compared with the float32 torch model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from maclip.model.maclip import MaClip
from maclip_export.gate.layers import first_departure
from maclip_export.graphs import Graph, takes_raw_text
from maclip_export.onnx.sessions import open_session
from maclip_runtime.bundle.figures import GateFigure
from maclip_runtime.engines.encoder import UNIT
from maclip_runtime.errors import MaclipError

FLOAT32_LIMIT = 1e-4  # relative to the largest magnitude of the torch output
COSINE_LIMITS = {"fp16": 0.999, "int8": 0.99}  # of features and prototypes
HALF_MATCH_LIMIT = 1e-2  # relative, of distances and probabilities
QUANTIZED = ("visual", "stem", "tower")  # the graphs that int8 changes
ALLOW_LOSS_FIX = "Export without --fp16 or --int8, or add --allow-loss: the manifest then records the loss."
REPORT_FIX = "Report this with the model and the versions of torch and onnxruntime."
PROMPTS = ("a photo of juggling", "", "waving both hands at a camera, slowly, then faster", "a photo of a red star")


@dataclass(frozen=True)
class Case:
    """One run of a graph: its inputs in order, and torch's outputs for them."""

    inputs: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]


class Gate:
    """Compares graphs of `model` with torch on `clips` uint8 [n, T, H, W, 3] and text features `names` f32 [m, D'].

    All graphs get the same clips, so torch computes their features once. A tower gets the tokens of the stem that was
    checked before it, so its figure covers frames to features.
    """

    def __init__(self, model: MaClip, clips: Tensor, names: Tensor, precision: str = "float32") -> None:
        self._model, self._clips, self._names = model, clips, names
        self._precision = precision
        self._features: dict[int, Tensor] = {}
        self._tokens: Tensor | None = None
        self._written_tokens: Tensor | None = None

    def check(self, graph: Graph, path: Path, allow_loss: bool = False) -> GateFigure:
        """Run the graph at `path` on every case; returns the worst figures.

        Raises `precision-rejected` beyond a limit, unless `allow_loss`, and names the first layer that differs.
        """
        figure, worst = self.measure(graph, path)
        if not allow_loss and not within_limits(figure):
            departure = first_departure(graph, path, worst.inputs)
            where = f"; {departure}" if departure else ""
            raise MaclipError(
                "precision-rejected",
                f"{graph.name}.onnx differs from torch: {beyond(figure)}{where}. Nothing was written.",
                REPORT_FIX if self._precision == "float32" else ALLOW_LOSS_FIX,
            )
        if graph.name == "stem":
            self.use_stem(path)
        return figure

    def measure(self, graph: Graph, path: Path) -> tuple[GateFigure, Case]:
        """The worst figures of the graph at `path` over all cases, and the case with the largest difference."""
        session = open_session(path)
        relative, cosine, probability = 0.0, 1.0, 0.0
        cases = list(self._cases(graph))
        worst = cases[0]
        for case in cases:
            feed = {spec.name: x.numpy() for spec, x in zip(graph.inputs, case.inputs, strict=True)}
            found = session.run([spec.name for spec in graph.outputs], feed)
            for spec, ours, theirs in zip(graph.outputs, found, case.expected, strict=True):
                difference = _relative(ours, theirs.numpy())
                if np.isnan(difference) or difference > relative:  # NaN is the largest difference
                    relative, worst = difference, case
                cosine = _worse(cosine, _cosine(ours, theirs.numpy()))
                if spec.name == "probabilities":
                    probability = -_worse(-probability, -float(np.abs(ours - theirs.numpy()).max()))
        rounded = any(spec.dtype == "float16" for spec in graph.outputs)
        limits = (None, None) if rounded else limits_of(graph.name, self._precision)
        last = probability if graph.name == "match" else None
        return GateFigure(relative, cosine, last, *limits, len(cases)), worst

    def use_stem(self, path: Path) -> None:
        """Give towers the tokens that the stem at `path` computes from now on."""
        (tokens,) = open_session(path).run(["tokens"], {"frames": self._clips.flatten(0, 1).numpy()})
        self._written_tokens = torch.from_numpy(tokens).unflatten(0, self._clips.shape[:2])

    def feeds(self, graph: Graph) -> list[dict[str, npt.NDArray[Any]]]:
        """The inputs of a calibration on these clips: with and without text, one clip at a time."""
        count = len(self._clips)
        found = []
        for every, clip in itertools.product((1,) if graph.name == "stem" else (1, 0), range(count)):
            case = self._case(graph, count, every)
            frames = self._clips.shape[1] if graph.name == "stem" else 1
            found.append(
                {
                    spec.name: x[clip * frames : (clip + 1) * frames].numpy()
                    for spec, x in zip(graph.inputs, case.inputs, strict=True)
                }
            )
        return found

    @torch.no_grad()
    def _cases(self, graph: Graph) -> Iterator[Case]:
        """One clip, two, and all; each with text for every clip, for none, and for every second clip."""
        counts = sorted({1, min(2, len(self._clips)), len(self._clips)})
        for count, every in itertools.product(counts, (1, 0, 2)):
            if graph.name in ("stem", "text") and every:
                continue  # they have no text input
            yield self._case(graph, count, every)

    @torch.no_grad()
    def _case(self, graph: Graph, count: int, every: int) -> Case:
        text, has_text = (x[:count] for x in self._text(every))
        clips = self._clips[:count]
        if graph.name == "text":
            tokens = self._model.backbone.tokenizer(list(PROMPTS[:count]))
            features = self._model.clip.encode_text(tokens)
            return Case((tokens,), (features if takes_raw_text(self._model) else F.normalize(features, dim=-1),))
        # Torch treats each clip of a batch separately, so the features of all clips include those of the first few.
        if graph.name == "stem":
            return Case((clips.flatten(0, 1),), (self._stem()[:count].flatten(0, 1),))
        features = self._tower(every)[:count]
        if graph.name == "visual":
            return Case((clips, text, has_text), (features,))
        if graph.name == "tower":
            tokens = self._stem() if self._written_tokens is None else self._written_tokens
            return Case((tokens[:count], text, has_text), (features,))
        prototypes = self._model.prototypes(features, text, has_text)
        if graph.name == "prototype":
            return Case((features, text, has_text), (prototypes,))
        queries = self._tower(0)[:count]
        expected = self._model.match(queries, prototypes, text, has_text)
        if any(spec.name.startswith(UNIT) for spec in graph.inputs):
            prototypes, text = F.normalize(prototypes, dim=-1), F.normalize(text, dim=-1)
        return Case((queries, prototypes, text, has_text), expected)

    def _text(self, every: int) -> tuple[Tensor, Tensor]:
        """Text for every clip (1), for none (0), or for every second clip (2): [n, D'], bool [n]."""
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


def limits_of(graph: str, precision: str) -> tuple[float | None, float | None]:
    """The limits of a graph's relative difference and cosine, None for none. A stem is checked through its tower.

    So is one whose tokens are rounded, in any precision: the last bit of a half is beyond the limit of float32.
    """
    if precision == "float32" or (precision == "int8" and graph not in QUANTIZED):
        return FLOAT32_LIMIT, None
    if graph == "match":
        return HALF_MATCH_LIMIT, None
    return (None, None) if graph == "stem" else (None, COSINE_LIMITS[precision])


def within_limits(figure: GateFigure) -> bool:
    """Whether all figures are within their limits; NaN never is."""
    return beyond(figure) is None


def beyond(figure: GateFigure) -> str | None:
    """The limit that a figure is beyond, in words; None: it is within its limits."""
    if figure.relative_limit is not None and not figure.relative <= figure.relative_limit:
        return f"by {figure.relative:.1e} of the largest value where {figure.relative_limit:.0e} is allowed"
    if figure.cosine_limit is not None and not figure.cosine >= figure.cosine_limit:
        return f"its worst cosine is {figure.cosine:.4f} where {figure.cosine_limit:g} is required"
    return None if np.isfinite(figure.relative) else "it is not finite"


def _relative(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-12))


def _worse(a: float, b: float) -> float:
    """The smaller; NaN is the worst."""
    return a if a <= b or np.isnan(a) else b


def _cosine(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    """The worst cosine along the last axis."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / np.maximum(norms, 1e-12)).min())
