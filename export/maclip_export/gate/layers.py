"""The first layer of an exported graph that differs from torch, in the order in which torch computes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maclip_export.graphs import Graph
from maclip_export.onnx.sessions import open_session
from maclip_export.onnx.writer import layer_name, numbered

MIN_COSINE = 0.99  # of a layer's output with torch's; below this it differs


@dataclass(frozen=True)
class Departure:
    """The first layer that differs, the cosine of its output with torch's (NaN: not finite), and the previous layer."""

    layer: str
    cosine: float
    before: str | None

    def __str__(self) -> str:
        how = "is not finite" if np.isnan(self.cosine) else f"has cosine {self.cosine:.4f} with torch's"
        after = f" (all is well up to {self.before})" if self.before else ""
        return f"the output of {self.layer} {how}{after}"


@torch.no_grad()
def first_departure(graph: Graph, path: Path, inputs: Sequence[Tensor]) -> Departure | None:
    """Compare each layer of the ONNX file at `path` with `graph.module` on `inputs`; None if no layer differs."""
    with _recording(graph.module) as torch_outputs:
        graph.module(*inputs)
    feed = {spec.name: x.numpy() for spec, x in zip(graph.inputs, inputs, strict=True)}
    ours = _layer_outputs(path, list(torch_outputs), feed)
    before = None
    for layer, expected in torch_outputs.items():
        if layer in ours:
            cosine = _cosine(ours[layer], expected)
            if not cosine >= MIN_COSINE:
                return Departure(layer, cosine, before)
            before = layer
    return None


@contextmanager
def _recording(module: nn.Module) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """The output of each module inside `module`, by the name of its layer, in the order of computation."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    calls: dict[str, int] = {}

    def keep(layer: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                call = calls[layer] = calls.get(layer, -1) + 1
                found[numbered(layer, call)] = output.float().numpy()

        return hook

    handles = [one.register_forward_hook(keep(layer_name(name))) for name, one in module.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _layer_outputs(path: Path, layers: Sequence[str], feed: dict[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
    """The outputs of these layers of the graph at `path`; layers that it does not have are left out."""
    session = open_session(path, layers)
    there = {output.name for output in session.get_outputs()}
    wanted = [layer for layer in layers if layer in there]
    return dict(zip(wanted, session.run(wanted, feed), strict=True)) if wanted else {}


def _cosine(ours: npt.NDArray[Any], theirs: npt.NDArray[np.float32]) -> float:
    if ours.size != theirs.size:
        return 1.0  # the graph lays this layer out differently: nothing to compare
    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    if not np.isfinite(a).all():
        return float("nan")
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 1.0
