"""A bundle in a second: colours as features, cosine distances, the real manifest. For tests of the runtime."""

from __future__ import annotations

import dataclasses
import hashlib
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
    Limit,
    Manifest,
    Provenance,
    TensorSpec,
    file_sha256,
)
from maclip_runtime.bundle.vocabulary import Names
from maclip_runtime.reading.frames import Preprocess

FRAMES, SIZE, WIDTH = 4, 32, 12
NAMES = ("red light", "green light", "blue light", "waving hello", "opening a door", "closing a door")
HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'

# Each quarter's mean colour, plus a little of the text where there is one.
COLOURS = """
    pixels = Cast<to: int = 1>(frames)
    full = Constant<value_float: float = 255.0>()
    half = Constant<value_float: float = 0.5>()
    unit = Div(pixels, full)
    centred = Sub(unit, half)
"""
TEXT = """
    axis = Constant<value_ints: ints = [1]>()
    weight = Constant<value_float: float = 0.1>()
    flag = Cast<to: int = 1>(has_text)
    flag_column = Unsqueeze(flag, axis)
    said = Mul(text, flag_column)
    said_small = Mul(said, weight)
    said_frames = Unsqueeze(said_small, axis)
"""
VISUAL = f"""
visual (uint8[B,{FRAMES},{SIZE},{SIZE},3] frames, float[B,{WIDTH}] text, bool[B] has_text)
    => (float[B,{FRAMES},{WIDTH}] features) {{
    {COLOURS}
    quarters_shape = Constant<value_ints: ints = [0, 0, 2, {SIZE // 2}, 2, {SIZE // 2}, 3]>()
    flat_shape = Constant<value_ints: ints = [0, 0, {WIDTH}]>()
    quarters = Reshape(centred, quarters_shape)
    means = ReduceMean<axes: ints = [3, 5], keepdims: int = 0>(quarters)
    flat = Reshape(means, flat_shape)
    {TEXT}
    features = Add(flat, said_frames)
}}
"""
STEM = f"""
stem (uint8[F,{SIZE},{SIZE},3] frames) => (float[F,4,3] tokens) {{
    {COLOURS}
    quarters_shape = Constant<value_ints: ints = [0, 2, {SIZE // 2}, 2, {SIZE // 2}, 3]>()
    flat_shape = Constant<value_ints: ints = [0, 4, 3]>()
    quarters = Reshape(centred, quarters_shape)
    means = ReduceMean<axes: ints = [2, 4], keepdims: int = 0>(quarters)
    tokens = Reshape(means, flat_shape)
}}
"""
TOWER = f"""
tower (float[B,{FRAMES},4,3] tokens, float[B,{WIDTH}] text, bool[B] has_text)
    => (float[B,{FRAMES},{WIDTH}] features) {{
    flat_shape = Constant<value_ints: ints = [0, 0, {WIDTH}]>()
    flat = Reshape(tokens, flat_shape)
    {TEXT}
    features = Add(flat, said_frames)
}}
"""
PROTOTYPE = f"""
prototype (float[C,{FRAMES},{WIDTH}] features, float[C,{WIDTH}] text, bool[C] has_text)
    => (float[C,{FRAMES},{WIDTH}] prototypes) {{
    factor = Constant<value_float: float = FACTOR>()
    prototypes = Mul(features, factor)
}}
"""
MATCH = f"""
match (float[B,{FRAMES},{WIDTH}] features, float[C,{FRAMES},{WIDTH}] prototypes, float[C,{WIDTH}] text,
       bool[C] has_text) => (float[B,C] distances, float[B,C] probabilities) {{
    one = Constant<value_float: float = 1.0>()
    length = Constant<value_float: float = {float(FRAMES)}>()
    scale = Constant<value_float: float = -10.0>()
    q_norm = ReduceL2<axes: ints = [-1], keepdims: int = 1>(features)
    p_norm = ReduceL2<axes: ints = [-1], keepdims: int = 1>(prototypes)
    q = Div(features, q_norm)
    p = Div(prototypes, p_norm)
    dots = Einsum<equation: string = "btd,ctd->bc">(q, p)
    cosines = Div(dots, length)
    distances = Sub(one, cosines)
    logits = Mul(distances, scale)
    probabilities = Softmax<axis: int = -1>(logits)
}}
"""


def write_bundle(
    path: Path,
    split: bool = False,
    contract: str = "tiny",
    prototype_factor: float = 1.0,
    limit: float | None = None,
    learned: bool = False,
) -> Path:
    """Write a bundle: with `split`, stem and tower instead of the visual graph."""
    path.mkdir(parents=True)
    texts = {"stem": STEM, "tower": TOWER} if split else {"visual": VISUAL}
    texts["prototype"] = PROTOTYPE.replace("FACTOR", str(float(prototype_factor)))
    texts["match"] = MATCH
    graphs = {name: write_graph(path / f"{name}.onnx", text) for name, text in texts.items()}
    (path / "names.json").write_text(json.dumps({"names": NAMES, "templates": ["a photo of {}"]}))
    save_file({"text": text_features()}, path / "names.safetensors")
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        tool_version="0",
        backbone=Backbone("tiny", "none", hashlib.sha256(b"").hexdigest()),
        trained=False,
        frames=FRAMES,
        feature_width=WIDTH,
        preprocess=Preprocess.for_size(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        adapted_depth=0,
        metric="frame-cosine",
        cohort=0,
        fusion_weight=0.0,
        scale=10.0,
        precision="float32",
        quantization=None,
        forms={},
        pairs=None,
        limit=None if limit is None else Limit(limit, "nothing", learned),
        names=Names(len(NAMES), ("a photo of {}",), "unit"),
        text_encoder=None,
        graphs=graphs,
        engines=(),
        files={},
        gate={},
        gate_accuracy=None,
        loss_allowed=False,
        provenance=Provenance(None, None, None, None, {}, "2026-01-01T00:00:00+00:00"),
        contract=contract,
    )
    seal(path, manifest)
    return path


def seal(path: Path, manifest: Manifest) -> None:
    """Write the manifest with the digests of what lies there now."""
    files = {
        file.name: FileSpec(file_sha256(file), file.stat().st_size)
        for file in sorted(path.iterdir())
        if file.name != MANIFEST_FILE
    }
    (path / MANIFEST_FILE).write_text(dataclasses.replace(manifest, files=files).to_json())


def text_features() -> np.ndarray:
    """A row of length 1 for each name, float32 [n, D']."""
    rows = np.random.default_rng(0).normal(size=(len(NAMES), WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_graph(file: Path, text: str) -> GraphSpec:
    """Write an ONNX graph from its text; what the manifest says of it."""
    model = onnx.parser.parse_model(HEADER + text)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return GraphSpec(
        file.name, _specs(model.graph.input), _specs(model.graph.output), Census({}, {}, len(model.graph.node))
    )


def _specs(values: object) -> tuple[TensorSpec, ...]:
    proto = onnx.TensorProto
    dtypes = {proto.UINT8: "uint8", proto.FLOAT: "float32", proto.BOOL: "bool", proto.INT64: "int64"}
    return tuple(
        TensorSpec(
            value.name,
            dtypes[value.type.tensor_type.elem_type],
            tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
        )
        for value in values  # type: ignore[attr-defined]
    )
