"""What a device computes from the bundle equals what torch computes from the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import open_clip
import pytest
import torch
from random_models import randomised

import maclip
from maclip.model.maclip import MaClip
from maclip_export.bundle.writer import Material, write_bundle
from maclip_export.gate.trial import drawn_trial
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.encoder import Encoder

COUNTS = (1, 2, 16)


def assert_same_features(model: MaClip, bundle: Path, counts: tuple[int, ...] = COUNTS) -> None:
    encoder = Encoder(Bundle.open(bundle), "cpu")
    clips = drawn_trial(model, 2).frames[: max(counts)]
    text = torch.nn.functional.normalize(torch.randn(max(counts), model.feature_width), dim=-1)
    for rows in (None, text):
        with torch.no_grad():
            expected = model.features(clips, rows).numpy()  # torch treats every clip of a batch alike
        for count in counts:
            found = encoder.features(clips[:count].numpy(), None if rows is None else rows[:count].numpy())
            worst = np.abs(found - expected[:count]).max() / np.abs(expected[:count]).max()
            assert worst < 1e-5, f"{count} clips, text: {rows is not None}: {worst:.1e}"


def test_tiny_features_equal_torchs_through_stem_and_tower(shallow):
    assert_same_features(*shallow)


def test_tiny_features_equal_torchs_through_one_graph(deep):
    assert_same_features(*deep)


def test_an_enrolled_clips_features_equal_separate_runs(shallow, deep):
    for model, bundle in (shallow, deep):
        encoder = Encoder(Bundle.open(bundle), "cpu")
        clip = drawn_trial(model, 1).frames[0].numpy()
        text = torch.nn.functional.normalize(torch.randn(model.feature_width), dim=-1).numpy()
        for found, expected in zip(
            encoder.enrolled(clip, text),
            (encoder.features(clip[None])[0], encoder.features(clip[None], text[None])[0]),
            strict=True,
        ):
            assert np.abs(found - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())


def test_features_of_two_blocks_of_vit_b32_equal_torchs(tmp_path, monkeypatch):
    """With its patches, widths and heads. Ten more blocks of the same kind would take minutes and show nothing new."""
    configured = open_clip.get_model_config

    def two_blocks(name: str) -> dict[str, Any]:
        config = configured(name)
        config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = 2
        return config

    monkeypatch.setattr(open_clip, "get_model_config", two_blocks)
    model = randomised(maclip.build("ViT-B-32", "none", adapters="blocks"))
    assert (model.layers, model.adapted_depth, model.image.width, model.image.rows) == (2, 2, 768, 50)
    write_bundle(model, tmp_path / "bundle", Material([], drawn_trial(model, 1, 2)))
    assert_same_features(model, tmp_path / "bundle")


@pytest.mark.parametrize("classes", [1, 2, 50])
@pytest.mark.parametrize("named", ["all", "none", "some"])
def test_prototypes_and_matching_equal_torchs(shallow, classes, named):
    model, bundle = shallow
    encoder = Encoder(Bundle.open(bundle), "cpu")
    features = torch.randn(classes, 8, model.feature_width)
    queries = torch.randn(3, 8, model.feature_width)
    has_text = torch.tensor([{"all": True, "none": False, "some": i % 2 == 0}[named] for i in range(classes)])
    text = torch.nn.functional.normalize(torch.randn(classes, model.feature_width), dim=-1) * has_text[:, None]
    with torch.no_grad():
        single = model.prototypes(features, text if named == "all" else None)
        distances, probabilities = model.match(queries, single, text, has_text)
    found = encoder.prototypes(features.numpy(), text.numpy() if named == "all" else None)
    np.testing.assert_allclose(found, single.numpy(), rtol=1e-4, atol=1e-5)
    arrays = queries.numpy(), single.numpy(), text.numpy(), has_text.numpy()
    match = encoder.match(*arrays)
    ready = encoder.prepare_classes(*arrays[1:3])  # as a gallery keeps them
    again = encoder.match(arrays[0], *ready, arrays[3], prepared=True)
    np.testing.assert_array_equal(again.distances, match.distances)
    np.testing.assert_allclose(np.linalg.norm(ready[0], axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(match.distances, distances.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(match.probabilities, probabilities.numpy(), rtol=1e-4, atol=1e-5)
    none = np.exp(np.logaddexp.reduce(np.append(-match.distances, np.full((3, 1), -2.0), -1), -1) + 2.0) ** -1
    np.testing.assert_allclose(match.probabilities.sum(-1), 1 - none, rtol=1e-4)  # "none of these" has the rest


def test_matching_stays_finite_when_frames_are_opposites(shallow):
    """Distances of 2 everywhere are the far end of the soft-min's range."""
    model, bundle = shallow
    encoder = Encoder(Bundle.open(bundle), "cpu")
    query = np.ones((1, 8, model.feature_width), np.float32)
    match = encoder.match(query, -query, np.zeros((1, model.feature_width), np.float32), np.array([False]))
    assert np.isfinite(match.distances).all()


def test_graphs_are_valid_and_pixels_are_cast_first(shallow, deep):
    for _, bundle in (shallow, deep):
        for path in bundle.glob("*.onnx"):
            onnx.checker.check_model(str(path))
            graph = onnx.load(path, load_external_data=False).graph
            for value in graph.input:
                if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
                    readers = [node.op_type for node in graph.node if value.name in node.input]
                    assert readers == ["Cast"]
                    assert graph.node[0].op_type == "Cast"
