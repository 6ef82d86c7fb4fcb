"""A bundle is written whole and true, or not at all."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU
from random_models import NAMES
from safetensors.numpy import load_file

import maclip
from maclip_export.bundle import writer as bundle_writer
from maclip_export.bundle.writer import Material, contract_of, write_bundle
from maclip_export.gate.gate import FLOAT32_LIMIT
from maclip_export.gate.trial import drawn_trial
from maclip_export.options import ExportOptions
from maclip_runtime import MaclipError
from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.vocabulary import Names


def frozen_model():
    """Plain CLIP: the quickest to export."""
    return maclip.build("tiny", "none", adapters="none", prototype="none")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the prototype graph, for tests of what happens around the graphs."""
    graphs = bundle_writer.graphs_of
    monkeypatch.setattr(bundle_writer, "graphs_of", lambda model: [g for g in graphs(model) if g.name == "prototype"])


def material(model, *names: str) -> Material:
    """Two clips, of two classes: too few to measure accuracy on."""
    return Material(names, drawn_trial(model, 1, 2))


def refused(code: str, *args: object) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        write_bundle(*args)  # type: ignore[arg-type]
    assert caught.value.code == code
    return caught.value


def test_the_manifest_says_what_is_there(shallow):
    _, out = shallow
    manifest = Bundle.open(out).manifest
    assert set(manifest.graphs) == {"stem", "tower", "prototype", "match"}
    assert set(manifest.files) == {path.name for path in out.iterdir()} - {"manifest.json"}
    assert (manifest.trained, manifest.adapted_depth, manifest.precision) == (True, 2, "float32")
    assert manifest.cohort == 7
    match = manifest.graphs["match"]
    assert [spec.name for spec in match.inputs] == ["features", "unit_prototypes", "unit_text", "has_text"]
    assert [spec.name for spec in match.outputs] == ["distances", "probabilities"]
    assert manifest.graphs["tower"].outputs[0].shape == ("B", 8, 128)
    assert manifest.limit is not None
    for figure in manifest.gate.values():
        assert figure.relative_limit == FLOAT32_LIMIT
        assert 0 <= figure.relative <= FLOAT32_LIMIT
        assert figure.cosine > 0.9999
        assert figure.cases >= 3
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_names_are_frozen_text_features(shallow):
    model, out = shallow
    assert json.loads((out / "names.json").read_text())["names"] == NAMES
    found = load_file(out / "names.safetensors")["text"]
    np.testing.assert_allclose(found, model.encode_names(NAMES).numpy(), atol=1e-3)  # stored in half precision
    np.testing.assert_allclose(Bundle.open(out).text, model.encode_names(NAMES).numpy(), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(Bundle.open(out).text, axis=1), 1, atol=1e-5)


def test_others_may_read_every_file(shallow):
    for path in shallow[1].iterdir():
        assert path.stat().st_mode & stat.S_IROTH, path.name


def test_plain_clip_is_a_bundle_that_says_so(tmp_path):
    model = frozen_model()
    write_bundle(model, tmp_path / "bundle", material(model, "waving"))
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert not manifest.trained
    assert (manifest.adapted_depth, manifest.cohort) == (0, 0)
    assert set(manifest.graphs) == {"visual", "prototype", "match"}


def test_a_graph_that_departs_from_torch_is_refused_and_nothing_written(tmp_path, monkeypatch):
    model = frozen_model()
    write = bundle_writer.write_onnx

    def write_then_change_the_model(graph, folder):
        files = write(graph, folder)
        with torch.no_grad():
            model.clip.visual.proj[0, 0] += 0.05
        return files

    monkeypatch.setattr(bundle_writer, "write_onnx", write_then_change_the_model)
    error = refused("precision-rejected", model, tmp_path / "bundle", material(model))
    assert "visual.onnx" in error.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_what_is_there_is_replaced_only_when_asked_and_only_if_a_bundle(tmp_path):
    model = frozen_model()
    out = tmp_path / "bundle"
    write_bundle(model, out, material(model, "one"))
    refused("output-exists", model, out, material(model, "two"))
    assert json.loads((out / "names.json").read_text())["names"] == ["one"]
    write_bundle(model, out, material(model, "two"), ExportOptions(force=True))
    assert json.loads((out / "names.json").read_text())["names"] == ["two"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    refused("output-exists", model, mine, material(model), ExportOptions(force=True))
    (mine / "manifest.json").write_text('{"manifest_version": 3}')  # a browser's extension
    refused("output-exists", model, mine, material(model), ExportOptions(force=True))
    assert (mine / "thesis.txt").read_text() == "years of work"
    (tmp_path / "link").symlink_to("bundle")
    write_bundle(model, tmp_path / "link", material(model, "three"), ExportOptions(force=True))
    assert json.loads((out / "names.json").read_text())["names"] == ["three"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "link", "mine"]


@pytest.mark.usefixtures("quick")
def test_what_another_program_made_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    model, out = frozen_model(), tmp_path / "bundle"
    write = bundle_writer.write_names

    def slowly(*args: object, **chosen: bool) -> Names:
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
        return write(*args, **chosen)

    monkeypatch.setattr(bundle_writer, "write_names", slowly)
    refused("output-exists", model, out, material(model))
    assert (out / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("quick")
def test_a_failed_replacement_leaves_the_old_bundle(tmp_path, monkeypatch):
    model = frozen_model()
    out = tmp_path / "bundle"
    write_bundle(model, out, material(model, "one"))

    def full(*args: object, **chosen: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_writer, "write_names", full)
    refused("output-unwritable", model, out, material(model, "two"), ExportOptions(force=True))
    assert json.loads((out / "names.json").read_text())["names"] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    model = frozen_model()
    refused("output-unwritable", model, tmp_path / "file" / "bundle", material(model))


def test_the_contract_follows_what_makes_features_comparable():
    first = maclip.build("tiny", "none", adapters="blocks", adapted_depth=1)
    other = maclip.build("tiny", "none", adapters="blocks", adapted_depth=1, metric="bimhm")
    with torch.no_grad():
        for key, value in other.tuned_state().items():
            value.copy_(first.tuned_state()[key])
        assert contract_of(other) == contract_of(first)
        other.tuned_state()["prototype.ffn.0.bias"].add_(1)
        assert contract_of(other) == contract_of(first)  # prototypes are made anew from features
        other.tuned_state()["blocks.3.joint.up.bias"].add_(1)
        assert contract_of(other) != contract_of(first)
    known = contract_of(first)
    first.clip.visual.transformer.resblocks[0].mlp.gelu = QuickGELU()
    assert contract_of(first) != known


def test_text_features_of_other_lengths_are_not_comparable():
    unit, raw = (
        maclip.build("tiny", "tiny", adapters="blocks", adapted_depth=0, prototype_text=length)
        for length in ("unit", "raw")
    )
    assert contract_of(unit) != contract_of(raw)
