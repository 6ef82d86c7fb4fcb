"""Stem and tower of a bundle as one graph, from frames [B, T, H, W, 3] to features, for a server."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import compose, helper

from maclip_runtime.bundle.manifest import TensorSpec
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.served import VISUAL, served_graphs

STEM_PREFIX = "stem."
ELEMENTS = {"uint8": onnx.TensorProto.UINT8, "float16": onnx.TensorProto.FLOAT16, "float32": onnx.TensorProto.FLOAT}


def write_visual(bundle: Bundle, file: Path) -> None:
    """Write the graph `visual` of a bundle with stem and tower, with copies of their weights' files beside it.

    Its inputs and outputs are those of `served_graphs`. The weights are not read: the graph refers to their files.
    """
    manifest = bundle.manifest
    spec, tokens = served_graphs(manifest)[VISUAL], manifest.graphs["tower"].inputs[0]
    stem, tower = (onnx.load(bundle.graph_file(name), load_external_data=False) for name in ("stem", "tower"))
    single, made = manifest.graphs["stem"].inputs[0].name, manifest.graphs["stem"].outputs[0].name
    stem = compose.add_prefix(stem, STEM_PREFIX)
    graph = tower.graph
    flat = _reshape(graph, spec.inputs[0].name, f"{STEM_PREFIX}{single}", spec.inputs[0].shape[2:])
    # The tower's input of this name becomes an edge within the graph.
    gathered = _reshape(graph, f"{STEM_PREFIX}{made}", tokens.name, tokens.shape[1:])
    nodes = [flat, *stem.graph.node, gathered, *graph.node]
    inputs = [_frames(spec.inputs[0]), *(one for one in graph.input if one.name != tokens.name)]
    joined = helper.make_graph(
        nodes, VISUAL, inputs, graph.output, [*stem.graph.initializer, *graph.initializer], value_info=graph.value_info
    )
    joined.quantization_annotation.extend([*stem.graph.quantization_annotation, *graph.quantization_annotation])
    model = helper.make_model(
        joined, opset_imports=_opsets(stem, tower), functions=[*stem.functions, *tower.functions],
        ir_version=max(stem.ir_version, tower.ir_version),
    )  # fmt: skip
    onnx.save(model, file)
    for name in external_files(model):
        (file.parent / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, file.parent / name)


def external_files(model: onnx.ModelProto) -> list[str]:
    """The names of the files beside a model that hold its weights."""
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def _reshape(graph: onnx.GraphProto, given: str, made: str, row: Sequence[int | str]) -> onnx.NodeProto:
    """A node that makes rows of the shape `row`, as many as fit; its constant goes into the graph."""
    sizes = [-1, *(n for n in row if isinstance(n, int))]
    shape = helper.make_tensor(f"{made}.shape", onnx.TensorProto.INT64, [len(sizes)], sizes)
    graph.initializer.append(shape)
    return helper.make_node("Reshape", [given, shape.name], [made], name=f"reshape.{made}")


def _frames(tensor: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, ELEMENTS[tensor.dtype], list(tensor.shape))


def _opsets(*models: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """What the graphs import; one exporter wrote both in one go."""
    found = {entry.domain: entry.version for model in models for entry in model.opset_import}
    return [helper.make_opsetid(domain, version) for domain, version in found.items()]
