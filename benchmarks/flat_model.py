"""A bundle with the shapes of ViT-B whose graphs compute next to nothing: to measure what is around the network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx.parser
from safetensors.numpy import save_file

from maclip_runtime.bundle.manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Backbone,
    Census,
    FileSpec,
    GraphSpec,
    Manifest,
    Provenance,
    TensorSpec,
    file_sha256,
)
from maclip_runtime.bundle.vocabulary import Names
from maclip_runtime.reading.frames import Preprocess

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
# Features are the grey levels of a frame in D' places of the same area.
VISUAL = """
visual (uint8[B,T,S,S,3] frames, float[B,D] text, bool[B] has_text) => (float[B,T,D] features) {
    shape = Constant<value_ints: ints = [0, 0, D, -1]>()
    places = Reshape(frames, shape)
    first = Constant<value_ints: ints = [0]>()
    last = Constant<value_ints: ints = [256]>()
    axis = Constant<value_ints: ints = [3]>()
    some = Slice(places, first, last, axis)
    pixels = Cast<to: int = 1>(some)
    features = ReduceMean<axes: ints = [3], keepdims: int = 0>(pixels)
}
"""
PROTOTYPE = """
prototype (float[C,T,D] features, float[C,D] text, bool[C] has_text) => (float[C,T,D] prototypes) {
    prototypes = Identity(features)
}
"""
MATCH = """
match (float[B,T,D] features, float[C,T,D] prototypes, float[C,D] text, bool[C] has_text)
    => (float[B,C] distances, float[B,C] probabilities) {
    flat = Constant<value_ints: ints = [0, -1]>()
    q = Reshape(features, flat)
    p = Reshape(prototypes, flat)
    q_length = ReduceL2<axes: ints = [-1], keepdims: int = 1>(q)
    p_length = ReduceL2<axes: ints = [-1], keepdims: int = 1>(p)
    q_unit = Div(q, q_length)
    p_unit = Div(p, p_length)
    turned = Transpose<perm: ints = [1, 0]>(p_unit)
    cosines = MatMul(q_unit, turned)
    one = Constant<value_float: float = 1.0>()
    distances = Sub(one, cosines)
    scale = Constant<value_float: float = -10.0>()
    logits = Mul(distances, scale)
    probabilities = Softmax<axis: int = -1>(logits)
}
"""
TYPES = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.BOOL: "bool"}


def write_flat_bundle(path: Path, *, frames: int = 8, size: int = 224, width: int = 512) -> Path:
    """Write the bundle; `size` px, `width` numbers in a feature."""
    path.mkdir(parents=True)
    sizes = (("T", frames), ("S", size), ("D", width))
    texts = {"visual": VISUAL, "prototype": PROTOTYPE, "match": MATCH}
    graphs = {name: _graph(path / f"{name}.onnx", text, sizes) for name, text in texts.items()}
    (path / "names.json").write_text(json.dumps({"names": ["one"], "templates": ["{}"]}))
    save_file({"text": np.eye(1, width, dtype=np.float32)}, path / "names.safetensors")
    files = {file.name: FileSpec(file_sha256(file), file.stat().st_size) for file in sorted(path.iterdir())}
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        tool_version="0",
        backbone=Backbone("flat", "none", "0" * 64),
        trained=False,
        frames=frames,
        feature_width=width,
        preprocess=Preprocess.for_size(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        adapted_depth=0,
        metric="frame-cosine",
        cohort=0,
        fusion_weight=0.0,
        scale=10.0,
        precision="float32",
        quantization=None,
        forms={},
        pairs=None,
        limit=None,
        names=Names(1, ("{}",), "unit"),
        text_encoder=None,
        graphs=graphs,
        engines=(),
        files=files,
        gate={},
        gate_accuracy=None,
        loss_allowed=False,
        provenance=Provenance(None, None, None, None, {}, "2026-01-01T00:00:00+00:00"),
        contract="flat",
    )
    (path / MANIFEST_FILE).write_text(dataclasses.replace(manifest).to_json())
    return path


def _graph(file: Path, text: str, sizes: tuple[tuple[str, int], ...]) -> GraphSpec:
    for letter, number in sizes:
        for mark in ("[{},", ",{},", ",{}]", " {},"):
            for _ in range(2):  # neighbours share a comma
                text = text.replace(mark.format(letter), mark.format(number))
    model = onnx.parser.parse_model(HEADER + text)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    inputs, outputs = _specs(model.graph.input), _specs(model.graph.output)
    return GraphSpec(file.name, inputs, outputs, Census({}, {}, len(model.graph.node)))


def _specs(values: object) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            value.name,
            TYPES[value.type.tensor_type.elem_type],
            tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
        )
        for value in values  # type: ignore[attr-defined]
    )
