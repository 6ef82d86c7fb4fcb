"""Export one graph to an ONNX file, with its weights in a file beside it, with torch's dynamo exporter."""

from __future__ import annotations

import ast
import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch

from maclip_export.graphs import Graph, example_inputs
from maclip_export.onnx.storage import save, tidy

# LayerNormalization is one operator from opset 17 on, Gelu from 20 on. JetPack 6's onnxruntime (1.23) reads up to
# opset 23 and IR version 11, TensorRT 10 the operators of opset 20 that are used here.
OPSET = 20
IR_VERSION = 10
SCOPES = "pkg.torch.onnx.name_scopes"  # the modules that a node comes from, as the exporter records them


def write_onnx(graph: Graph, folder: Path) -> list[Path]:
    """Write `graph`.onnx and, if it has weights, `graph`.onnx.data into `folder`; returns the files written."""
    path = folder / f"{graph.name}.onnx"
    save(traced(graph), path)
    return [file for file in (path, path.with_suffix(".onnx.data")) if file.is_file()]


def traced(graph: Graph) -> onnx.ModelProto:
    """The ONNX model of `graph`, with its weights inside."""
    axes = {n: torch.export.Dim.DYNAMIC for spec in graph.inputs for n in spec.shape if isinstance(n, str)}
    shapes: dict[str, Any] = {
        spec.name: {i: axes[n] for i, n in enumerate(spec.shape) if isinstance(n, str)} for spec in graph.inputs
    }
    with warnings.catch_warnings(), torch.no_grad(), _rare_collection():
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
        _name_layers(program.model.graph)
        model = tidy(program.model_proto)
    _split_key_transposes(model.graph)
    model.ir_version = IR_VERSION
    for node in model.graph.node:
        del node.metadata_props[:]  # source lines and paths of the exporting machine
        node.doc_string = ""
    del model.metadata_props[:]
    return model


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Collect garbage less often: collecting took two thirds of the time of tracing, whose objects mostly live on."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _name_layers(onnx_graph: Any) -> None:
    """Name the output of each module after the module ("blocks.3.temporal"), for `maclip_export.gate.layers`.

    Further calls of a module without submodules get a number ("...ln_1.1").
    """
    by_module: dict[str, list[Any]] = {}
    for node in onnx_graph:
        *scopes, _ = ast.literal_eval(node.metadata_props.get(SCOPES, "['', '']"))
        for scope in filter(None, scopes):
            by_module.setdefault(layer_name(scope), []).append(node)
    named: dict[str, Any] = {}
    for layer, nodes in by_module.items():
        ends = [nodes[-1]]
        if not any(other.startswith(f"{layer}.") for other in by_module):
            ends = [node for node in nodes if node.op_type == nodes[-1].op_type]  # the last of each call
        named |= {numbered(layer, call): node.outputs[0] for call, node in enumerate(ends)}
    taken: set[int] = set()
    for layer, value in sorted(named.items(), key=lambda item: item[0].count(".")):  # a module before its submodules
        if not value.is_graph_output() and id(value) not in taken:
            value.name = layer
            taken.add(id(value))


def numbered(layer: str, call: int) -> str:
    """The name of a layer's output in its first call (0) and in later ones."""
    return f"{layer}.{call}" if call else layer


def layer_name(module: str) -> str:
    """The name of a layer in a graph, from the path of its module in the wrapper that is exported."""
    return module.removeprefix("model.")


def _cast_first(onnx_graph: Any) -> None:
    """Let only the cast read bytes. The exporter takes sizes from the input itself, but TensorRT needs floats there."""
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


def _split_key_transposes(graph: Any) -> None:
    """Transpose keys in two steps, [B, K, heads, d] -> [B, heads, K, d] -> [B, heads, d, K], as attention is written.

    The exporter merges the two. Apart, the first is a quick copy of whole rows and the second is part of the product,
    in onnxruntime and in OpenVINO.
    """
    import onnx

    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Transpose" and list(node.attribute[0].ints) == [0, 2, 3, 1]:
            rows = f"{node.output[0]}.rows"
            graph.node.append(onnx.helper.make_node("Transpose", [node.input[0]], [rows], rows, perm=[0, 2, 1, 3]))
            node.input[0] = rows
            node.attribute[0].CopyFrom(onnx.helper.make_attribute("perm", [0, 1, 3, 2]))
        graph.node.append(node)


def _name_axes(onnx_graph: Any, graph: Graph) -> None:
    """Give free axes the names of `graph` (B, C, F); the exporter numbers them."""
    import onnx_ir

    names: dict[str, str] = {}
    for value, spec in zip([*onnx_graph.inputs, *onnx_graph.outputs], [*graph.inputs, *graph.outputs], strict=True):
        for dim, axis in zip(value.shape, spec.shape, strict=True):
            if isinstance(axis, str) and isinstance(dim, onnx_ir.SymbolicDim) and dim.value:
                names.setdefault(str(dim.value), axis)
        value.shape = onnx_ir.Shape(spec.shape)
    # Shapes of inner values are only hints, but they use the old names.
    for node in onnx_graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and not value.is_graph_output():
                value.shape = onnx_ir.Shape(
                    [names.get(str(d.value), d) if isinstance(d, onnx_ir.SymbolicDim) else d for d in value.shape]
                )
