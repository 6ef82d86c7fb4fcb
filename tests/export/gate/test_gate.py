"""The gate refuses what departs from torch, and says where it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from random_models import NAMES, randomised

import maclip
from maclip.model.maclip import MaClip
from maclip_export.bundle import writer as bundle_writer
from maclip_export.bundle.writer import Material, write_bundle
from maclip_export.gate import gate as gate_module
from maclip_export.gate.accuracy import AccuracyCheck
from maclip_export.gate.gate import Gate, within_limits
from maclip_export.gate.layers import first_departure
from maclip_export.gate.trial import drawn_trial
from maclip_export.graphs import graphs_of
from maclip_export.onnx.precision import to_half
from maclip_export.onnx.writer import write_onnx
from maclip_export.options import ExportOptions
from maclip_runtime import MaclipError
from maclip_runtime.bundle.figures import GateFigure
from maclip_runtime.bundle.opening import Bundle


def shallow_model() -> MaClip:
    return randomised(maclip.build("tiny", "none", adapters="blocks", adapted_depth=1))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The graphs of `shallow_model()` by name. Every such model has the same weights."""
    folder = tmp_path_factory.mktemp("written")
    return {graph.name: write_onnx(graph, folder)[0] for graph in graphs_of(shallow_model())}


def with_overflow() -> MaClip:
    """A model whose second layer norm of the second block leaves the range of half precision.

    Its values are scaled up and down again, so that float32 does not notice.
    """
    model = shallow_model()
    block = model.clip.visual.transformer.resblocks[1]
    with torch.no_grad():
        block.ln_2.weight.mul_(1e6)
        block.mlp.c_fc.weight.mul_(1e-6)
    return model


def test_an_overflowing_layer_norm_is_caught_and_named(tmp_path):
    model = with_overflow()
    trial = drawn_trial(model, 2, 2)
    with pytest.raises(MaclipError) as caught:
        write_bundle(model, tmp_path / "half", Material(NAMES, trial), ExportOptions(precision="fp16"))
    assert caught.value.code == "precision-rejected"
    assert "the output of clip.visual.transformer.resblocks.1.ln_2 is not finite" in caught.value.message
    assert "all is well up to clip.visual.transformer.resblocks.1.attn.out_proj" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_float32_does_not_mind_the_same_layer_norm(tmp_path):
    model = with_overflow()
    gate = Gate(model, drawn_trial(model, 1, 2).frames, model.encode_names(NAMES))
    stem = graphs_of(model)[0]
    assert within_limits(gate.check(stem, write_onnx(stem, tmp_path)[0]))


def test_a_loss_can_be_allowed_and_is_on_record(tmp_path):
    model = with_overflow()
    out = tmp_path / "half"
    write_bundle(
        model, out, Material(NAMES, drawn_trial(model, 2, 2)), ExportOptions(precision="fp16", allow_loss=True)
    )
    manifest = Bundle.open(out).manifest
    assert manifest.loss_allowed
    assert not within_limits(manifest.gate["tower"])
    assert manifest.gate_accuracy is not None


def test_no_layer_departs_in_a_graph_that_is_right(written):
    model = shallow_model()
    clips = drawn_trial(model, 1, 2).frames
    gate = Gate(model, clips, model.encode_names(NAMES))
    for graph in graphs_of(model):
        path = written[graph.name]
        case = gate.measure(graph, path)[1]
        assert first_departure(graph, path, case.inputs) is None
        names = {value for node in onnx.load(path, load_external_data=False).graph.node for value in node.output}
        if graph.name == "tower":
            assert {"blocks.3.temporal", "blocks.3.multimodal", "clip.visual.ln_post"} <= names


def test_a_changed_weight_is_found_in_its_layer(written):
    model = shallow_model()
    graph = graphs_of(model)[1]
    tokens = model.stem(drawn_trial(model, 1, 2).frames.flatten(0, 1)).unflatten(0, (2, 8))
    text = model.encode_names(NAMES[:2])
    with torch.no_grad():
        model.blocks["3"].multimodal.up.weight.neg_()
    found = first_departure(graph, written["tower"], (tokens, text, torch.tensor([True, True])))
    assert found is not None
    assert found.layer == "blocks.3.multimodal"
    assert found.before == "blocks.3.multimodal.down"


@pytest.mark.parametrize("broken", range(9))
def test_a_graph_that_is_no_number_in_one_case_alone_is_refused(written, monkeypatch, broken):
    """In any of the nine: one clip, two and all, with text, without and with every second one."""
    model = shallow_model()
    tower, path = graphs_of(model)[1], written["tower"]
    session, ran = gate_module.open_session(path), []

    class NoNumber:
        def run(self, *args: object) -> list[np.ndarray]:
            ran.append(args)
            return [x * (np.nan if len(ran) == broken + 1 else 1) for x in session.run(*args)]

    monkeypatch.setattr(gate_module, "open_session", lambda path: NoNumber())
    figure = Gate(model, drawn_trial(model, 2, 2).frames, model.encode_names(NAMES)).measure(tower, path)[0]
    assert len(ran) == 9
    assert np.isnan(figure.relative)
    assert np.isnan(figure.cosine)
    assert not within_limits(figure)


def test_a_stem_is_judged_through_its_tower(written, tmp_path):
    """The tower gets the written stem's tokens: what the stem loses shows in the features."""
    model = shallow_model()
    stem, tower = graphs_of(model)[:2]
    clips = drawn_trial(model, 1, 2).frames
    gate = Gate(model, clips, model.encode_names(NAMES), "fp16")
    alone = gate.measure(tower, written["tower"])[0]
    for file in (written["stem"], written["stem"].with_suffix(".onnx.data")):
        shutil.copy(file, tmp_path)
    halved = tmp_path / "stem.onnx"
    to_half(halved, matching=False)
    figure = gate.check(stem, halved)
    assert figure.relative_limit is None
    assert figure.cosine_limit is None
    assert gate.measure(tower, written["tower"])[0].relative > 2 * alone.relative


def test_nan_is_beyond_every_limit():
    assert not within_limits(GateFigure(float("nan"), float("nan"), None, None, None, 1))
    assert not within_limits(GateFigure(0.0, float("nan"), None, None, 0.99, 1))
    assert not within_limits(GateFigure(0.0, 0.98, None, None, 0.99, 1))
    assert within_limits(GateFigure(0.5, 0.995, None, None, 0.99, 1))


def test_accuracy_is_compared_on_the_same_episodes(shallow):
    model, bundle = shallow
    check = AccuracyCheck(model, drawn_trial(model, 3, 5))
    files = {name: bundle / graph.file for name, graph in Bundle.open(bundle).manifest.graphs.items()}
    same = check.run(files)
    assert same is not None
    assert (same.torch, same.loss, same.interval) == (same.bundle, 0.0, 0.0)
    assert same.probability < 1e-4
    with torch.no_grad():
        model.clip.visual.proj.neg_()
        try:
            other = AccuracyCheck(model, drawn_trial(model, 3, 5)).run(files)
        finally:
            model.clip.visual.proj.neg_()
    assert other is not None
    assert other.interval > 0
    assert other.loss == pytest.approx(other.torch - other.bundle)
    assert other.probability > 0.01


def test_a_loss_of_accuracy_is_refused(tmp_path, monkeypatch):
    """Cosines can be fine where answers are not: the graph that is written answers backwards."""
    model = maclip.build("tiny", "none", adapters="none", prototype="none")
    measured = AccuracyCheck.run

    def worse(self, files, progress=None):
        found = measured(self, files, progress)
        assert found is not None
        return type(found)(**{**vars(found), "bundle": found.torch - 0.05, "loss": 0.05})

    monkeypatch.setattr(bundle_writer.AccuracyCheck, "run", worse)
    with pytest.raises(MaclipError) as caught:
        write_bundle(model, tmp_path / "bundle", Material([], drawn_trial(model, 2, 2)))
    assert caught.value.code == "precision-rejected"
    assert "loss 5.0" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_without_two_clips_of_two_classes_there_is_no_accuracy(shallow):
    model, bundle = shallow
    one_each = drawn_trial(model, 1, 3)
    assert AccuracyCheck(model, one_each).run(bundle, Bundle.open(bundle).manifest.graphs) is None


def test_trial_clips_are_labelled(tmp_path: Path):
    model = maclip.build("tiny", "none", adapters="blocks", adapted_depth=0)
    trial = drawn_trial(model, 2, 3)
    assert trial.frames.shape == (6, 8, 64, 64, 3)
    assert trial.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert trial.sizes() == [2, 2, 2]
    np.testing.assert_array_equal(trial.first_of_each(2).numpy(), trial.frames[[0, 2]].numpy())
    assert trial.first_of_each(9).shape[0] == 3
