"""Tracing a graph takes seconds, and many tests export the same small model: each graph is traced once in a run.

What is kept is what the exporter wrote. Whoever exports checks it against torch, as with a fresh trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import onnx

from maclip.model.maclip import MaClip
from maclip_export.graphs import Graph

# The parts of a model that the two small graphs do not read.
UNREAD = (
    *("model.clip.visual", "model.clip.transformer", "model.clip.token", "model.clip.ln", "model.blocks"),
    *("model.side", "model.temporal_embedding"),
)


def kept(trace: Callable[[Graph], onnx.ModelProto], folder: Path) -> Callable[[Graph], onnx.ModelProto]:
    """`trace`, which keeps its results in `folder` by all that they depend on."""

    def traced(graph: Graph) -> onnx.ModelProto:
        file = folder / f"{digest(graph)}.onnx"
        if not file.is_file():
            model = trace(graph)
            part = file.with_suffix(f".{id(model)}.part")
            part.write_bytes(model.SerializeToString())
            part.replace(file)
            return model
        return onnx.load(file)

    return traced


def digest(graph: Graph) -> str:
    """Of the code's classes, the settings and the weights of `graph`."""
    unread = UNREAD if graph.name in ("prototype", "match") else ()
    found = hashlib.sha256(repr((graph.name, graph.inputs, graph.outputs)).encode())
    for name, module in graph.module.named_modules():
        if name.startswith(unread):
            continue
        if unread and isinstance(module, MaClip):
            config = module.config
            read: object = config.frames, config.prototype, config.metric, config.text, module.feature_width
        else:
            values = [(key, value) for key, value in vars(module).items() if isinstance(value, int | float | str)]
            read = getattr(module, "config", None), sorted(values)
        found.update(repr((name, type(module), module.extra_repr(), read)).encode())
    for name, tensor in graph.module.state_dict().items():
        if not name.startswith(unread):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
