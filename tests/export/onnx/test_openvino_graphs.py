"""OpenVINO runs every graph of real bundles as onnxruntime does, in the precision that it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import open_engine
from maclip_runtime.engines.base import Array

pytest.importorskip("openvino")

from maclip_runtime.engines.openvino import NETWORK, OpenVinoEngine

SIZES = {"B": 2, "C": 3, "F": 3}


def inputs(bundle: Bundle, graph: str) -> dict[str, Array]:
    random = np.random.default_rng(3)
    made: dict[str, Array] = {}
    for tensor in bundle.manifest.graphs[graph].inputs:
        shape = [SIZES[n] if isinstance(n, str) else n for n in tensor.shape]
        if tensor.dtype == "uint8":
            made[tensor.name] = random.integers(0, 256, shape, dtype=np.uint8)
        elif tensor.dtype == "bool":
            made[tensor.name] = np.arange(shape[0]) % 2 == 0
        else:
            made[tensor.name] = random.standard_normal(shape, np.float32)
    return made


def compare(path: Path, device: str, form: str | None, atol: float, cosine: float) -> OpenVinoEngine:
    """Every graph on both engines: the network by cosine too, the others to 1e-5 of the largest value."""
    bundle = Bundle.open(path) if form is None else Bundle.open(path).in_form(form)
    expected, found = open_engine(bundle, "cpu"), open_engine(bundle, device)
    assert isinstance(found, OpenVinoEngine)
    for graph in bundle.manifest.graphs:
        given = inputs(bundle, graph)
        for ours, theirs in zip(found.run(graph, **given), expected.run(graph, **given), strict=True):
            allowed = atol if graph in NETWORK else 1e-5
            assert np.abs(ours - theirs).max() <= allowed * np.abs(theirs).max(), graph
            if graph in NETWORK:
                lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
                assert ((ours * theirs).sum(-1) / lengths).min() > cosine, graph
    return found


def test_float32(shallow: Any, deep: Any) -> None:
    for _, bundle in (shallow, deep):
        engine = compare(bundle, "openvino-f32", None, 1e-5, 0.99999)
        for graph in Bundle.open(bundle).manifest.graphs:
            assert set(engine.products(graph)) <= {"f32"}, graph


def test_bfloat16_in_the_network_only(shallow: Any, deep: Any) -> None:
    for _, bundle in (shallow, deep):
        engine = compare(bundle, "openvino", None, 0.1, 0.999)
        if engine.precision("match") == engine.precision(next(iter(Bundle.open(bundle).manifest.graphs))):
            pytest.skip("this CPU has no bfloat16")
        for graph in Bundle.open(bundle).manifest.graphs:
            assert set(engine.products(graph)) <= ({"bf16"} if graph in NETWORK else {"f32"}), graph


def test_static_int8_is_int8(eight: Any) -> None:
    bundle = Bundle.open(eight[1]).in_form("static")
    engine = compare(eight[1], "openvino", "static", 0.1, 0.99)
    for graph in ("stem", "tower"):
        counted = bundle.manifest.graphs[graph].census.products
        assert engine.products(graph).get("i8", 0) + engine.products(graph).get("u8", 0) == counted["int8"], graph
    assert set(engine.products("match")) == {"f32"}


def test_of_both_forms_it_opens_the_one_that_it_runs_in_int8(eight: Any) -> None:
    engine = open_engine(Bundle.open(eight[1]), "openvino")
    assert isinstance(engine, OpenVinoEngine)
    form = engine._bundle.manifest.quantization
    pairs = Bundle.open(eight[1]).manifest.pairs
    assert pairs is not None
    assert form == pairs.best["openvino"]
