"""One traced graph to one ONNX file with its weights beside it, by torch's dynamo exporter."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from maclip_export.graphs import Graph, example_inputs

# 18 is the oldest the dynamo exporter writes without conversion; LayerNormalization is one operator from 17 on.
OPSET = 18


def write_onnx(graph: Graph, folder: Path) -> list[Path]:
    """Write `graph`.onnx and, where it has weights, `graph`.onnx.data into `folder`; returns the files written."""
    path = folder / f"{graph.name}.onnx"
    axes = {n: torch.export.Dim.DYNAMIC for spec in graph.inputs for n in spec.shape if isinstance(n, str)}
    shapes: dict[str, Any] = {
        spec.name: {i: axes[n] for i, n in enumerate(spec.shape) if isinstance(n, str)} for spec in graph.inputs
    }
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                graph.module.eval(),
                example_inputs(graph),
                input_names=[spec.name for spec in graph.inputs],
                output_names=[spec.name for spec in graph.outputs],
                dynamic_shapes=shapes,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
        assert program is not None
        _cast_first(program.model.graph)
        _name_axes(program.model.graph, graph)
        program.save(path, external_data=True)
    return [file for file in (path, path.with_suffix(".onnx.data")) if file.is_file()]


def _cast_first(onnx_graph: Any) -> None:
    """Let nothing but the cast read bytes: the exporter takes sizes from the input itself, TensorRT wants floats."""
    import onnx_ir

    for value in onnx_graph.inputs:
        if value.dtype != onnx_ir.DataType.UINT8:
            continue
        cast = next(node for node in value.consumers() if node.op_type == "Cast")
        onnx_graph.remove(cast)
        onnx_graph.insert_before(onnx_graph[0], cast)
        for node, index in list(value.uses()):
            if node is not cast:
                node.replace_input_with(index, cast.outputs[0])


def _name_axes(onnx_graph: Any, graph: Graph) -> None:
    """Call free axes B, C and F as design.md does: the exporter numbers them."""
    import onnx_ir

    names: dict[str, str] = {}
    for value, spec in zip([*onnx_graph.inputs, *onnx_graph.outputs], [*graph.inputs, *graph.outputs], strict=True):
        for dim, axis in zip(value.shape, spec.shape, strict=True):
            if isinstance(axis, str) and isinstance(dim, onnx_ir.SymbolicDim) and dim.value:
                names.setdefault(str(dim.value), axis)
        value.shape = onnx_ir.Shape(spec.shape)
    # Shapes in between are only hints, and they speak of the old names.
    for node in onnx_graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and not value.is_graph_output():
                value.shape = onnx_ir.Shape(
                    [names.get(str(d.value), d) if isinstance(d, onnx_ir.SymbolicDim) else d for d in value.shape]
                )
