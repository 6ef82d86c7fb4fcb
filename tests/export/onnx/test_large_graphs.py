"""Graphs above 2 GiB: no step from torch to the bundle holds a model in one protobuf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from maclip_export.onnx.census import census
from maclip_export.onnx.precision import to_dynamic_int8, to_half, to_static_int8
from maclip_export.onnx.sessions import open_session
from maclip_export.onnx.storage import save, tidy

LAYERS, WIDTH = 6, 256
WEIGHTS = LAYERS * WIDTH * WIDTH  # numbers
MAX_SERIALISED = 50_000  # bytes; the int8 weights of one layer alone have 65,536


@pytest.fixture
def serialised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all models that are serialised, in bytes."""
    sizes: list[int] = []
    whole = onnx.ModelProto.SerializeToString

    def record(model: Any, **options: Any) -> bytes:
        found: bytes = whole(model, **options)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(onnx.ModelProto, "SerializeToString", record)
    return sizes


def graph() -> Any:
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32) for _ in range(LAYERS)]
    made = [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], f"m{i}") for i in range(LAYERS)]
    ends = [helper.make_tensor_value_info(v, TensorProto.FLOAT, ["B", WIDTH]) for v in ("x0", f"x{LAYERS}")]
    body = helper.make_graph(nodes, "g", ends[:1], ends[1:], made)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_weights_are_never_serialised_with_their_graph(tmp_path, serialised):
    path, feed = tmp_path / "visual.onnx", {"x0": np.ones((1, WIDTH), np.float32)}
    save(tidy(graph()), path)
    whole = run(path, feed)
    to_dynamic_int8(path, tmp_path / "dynamic.onnx")
    to_static_int8(path, tmp_path / "static.onnx", [feed])
    to_half(path, matching=False)
    for name, kind, limit in (("visual", "float16", 0.01), ("dynamic", "int8", 0.1), ("static", "int8", 0.1)):
        weights = census(tmp_path / f"{name}.onnx").weights
        assert weights[kind] >= WEIGHTS * (2 if kind == "float16" else 1)
        assert np.abs(run(tmp_path / f"{name}.onnx", feed) - whole).max() < limit * np.abs(whole).max()
    assert serialised
    assert max(serialised) < MAX_SERIALISED


def run(path: Path, feed: dict[str, Any]) -> Any:
    return open_session(path).run(None, feed)[0]
