"""Every metric goes through training and into match.onnx, and equals torch there."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from random_models import NAMES, randomised
from torch.nn import functional as F

import maclip
from maclip.model.maclip import MaClip
from maclip_export.bundle.writer import Material, contract_of, write_bundle
from maclip_export.gate.trial import drawn_trial
from maclip_export.graphs import graphs_of
from maclip_export.onnx.writer import write_onnx
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.encoder import UNIT, Encoder, unit_rows

# What TensorRT's parser and onnxruntime 1.23 know; no Loop and no Scan among them.
OPERATORS = {
    *("Abs", "Add", "Cast", "Clip", "Concat", "Constant", "CumSum", "Div", "Exp", "Expand", "Gather", "Gelu", "Gemm"),
    *("LayerNormalization", "Log", "MatMul", "Max", "Mul", "Neg", "Reciprocal", "ReduceMean", "ReduceMin"),
    *("ReduceSum", "Reshape", "Shape", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "TopK", "Transpose"),
    *("Unsqueeze",),
}
OWN = Path(__file__).parents[3] / "samples" / "own_metric.py"
METRICS = ("otam", "bimhm", "trx", "trx-triples", "frame-by-frame", "sharp-otam")
FRAMES = 4


@pytest.fixture(scope="module", autouse=True)
def own_metrics() -> Iterator[None]:
    """The sample's metric, and OTAM so sharp that it takes the way of long clips; gone afterwards."""
    known = dict(maclip.metrics.METRICS)
    runpy.run_path(str(OWN))
    maclip.metrics.metric("sharp-otam")(lambda query, support: maclip.metrics.otam(query, support, 0.05))
    yield
    maclip.metrics.METRICS.clear()
    maclip.metrics.METRICS.update(known)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[MaClip, Path]]:
    """A metric's model and its match.onnx."""

    @cache
    def make(metric: str) -> tuple[MaClip, Path]:
        model = model_with(metric)
        return model, write_onnx(graphs_of(model)[-1], tmp_path_factory.mktemp(metric))[0]

    return make


def model_with(metric: str) -> MaClip:
    model = maclip.build("tiny", "none", adapters="blocks", adapted_depth=0, metric=metric, frames=FRAMES)
    return randomised(model, cohort=metric in ("otam", "trx"))


def compare(model: MaClip, match: Callable[..., tuple[np.ndarray, ...]]) -> None:
    torch.manual_seed(2)
    for queries, classes in ((1, 1), (3, 2), (2, 50)):
        features = torch.randn(queries, model.config.frames, model.feature_width)
        prototypes = torch.randn(classes, model.config.frames, model.feature_width)
        text = torch.randn(classes, model.feature_width)
        has_text = torch.arange(classes) % 3 != 1
        with torch.no_grad():
            expected = model.match(features, prototypes, text, has_text)
        found = match(*(x.numpy() for x in (features, prototypes, text, has_text)))
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == (queries, classes)
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_in_onnxruntime_equals_torch_without_loops(exported, metric):
    model, path = exported(metric)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_inputs()]

    def match(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        inputs = dict(zip(names, arrays, strict=True))
        return session.run(None, {name: unit_rows(x) if name.startswith(UNIT) else x for name, x in inputs.items()})

    compare(model, match)
    operators = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    assert operators <= OPERATORS, operators - OPERATORS


@pytest.mark.parametrize("metric", ["otam", "bimhm"])
def test_prototypes_are_read_once_where_they_lie(exported, metric):
    """10,000 classes are 160 MB: their lengths, or a transposed copy, take as long as the matching."""
    graph = onnx.load(exported(metric)[1], load_external_data=False).graph
    reached, readers = {"unit_prototypes"}, []
    for node in graph.node:
        if reached & set(node.input):
            if node.op_type == "Reshape":  # only another shape
                reached |= set(node.output)
            elif node.op_type != "Shape":
                readers.append(node.op_type)
    assert readers == ["MatMul"]


def test_a_metrics_parameters_are_learnt_counted_and_kept_out_of_the_contract():
    torch.manual_seed(4)
    plain, model = (
        maclip.build("tiny", "none", adapters="blocks", adapted_depth=0, metric=name) for name in ("otam", "trx")
    )
    count = sum(p.numel() for p in model.metric.parameters())
    assert count == 2 * 1152 * 2 * model.feature_width + 3 * 1152
    assert sum(p.numel() for p in model.tuned_parameters()) - sum(p.numel() for p in plain.tuned_parameters()) == count
    assert {key for key in model.tuned_state() if key.startswith("metric.")} == {
        f"metric.relations.0.{name}"
        for name in ("key.weight", "key_bias", "key_norm.weight", "key_norm.bias", "value.weight")
    }
    assert contract_of(model) == contract_of(plain)  # features are the same
    before = {key: value.clone() for key, value in model.tuned_state().items()}
    optimizer, losses = torch.optim.AdamW(model.metric.parameters(), lr=1e-3), []
    support, query = torch.randn(2, 4, 8, model.feature_width)
    for _ in range(20):
        loss = F.cross_entropy(-0.1 * model.match(query, model.prototypes(support), support[:, 0])[0], torch.arange(4))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    changed = {key for key, value in model.tuned_state().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if key.startswith("metric.")}


def test_a_bundle_matches_by_a_metric_with_parameters(tmp_path):
    model = model_with("trx")
    write_bundle(model, tmp_path / "bundle", Material(NAMES, drawn_trial(model, 2)))
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.metric == "trx"
    encoder = Encoder(bundle, "cpu")

    def match(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        found = encoder.match(*arrays)
        return found.distances, found.probabilities

    compare(model, match)
