"""The graphs run on the device that was asked for, and mean the same in both layouts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import FRAMES, SIZE, WIDTH, seal, text_features, write_bundle

from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError


def random_frames(batch: int) -> np.ndarray:
    shape = (batch, FRAMES, SIZE, SIZE, 3)
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_features_are_what_the_graph_says(bundle: Path, batch: int) -> None:
    frames, text = random_frames(batch), text_features()[:1].repeat(batch, 0)
    encoder = Encoder(Bundle.open(bundle), "cpu")
    quarters = frames.reshape(batch, FRAMES, 2, SIZE // 2, 2, SIZE // 2, 3) / 255 - 0.5
    expected = quarters.mean(axis=(3, 5)).reshape(batch, FRAMES, WIDTH)
    np.testing.assert_allclose(encoder.features(frames), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.features(frames, text), expected + 0.1 * text[:, None], atol=1e-5)


def test_stem_and_tower_equal_the_visual_graph(bundle: Path, tmp_path: Path) -> None:
    split = Encoder(Bundle.open(write_bundle(tmp_path / "split", split=True)), "cpu")
    whole = Encoder(Bundle.open(bundle), "cpu")
    frames, text = random_frames(2), text_features()[:2]
    np.testing.assert_allclose(split.features(frames), whole.features(frames), atol=1e-6)
    np.testing.assert_allclose(split.features(frames, text), whole.features(frames, text), atol=1e-6)


def test_graph_that_contradicts_the_manifest(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    manifest = Manifest.from_json((path / "manifest.json").read_text())
    visual = manifest.graphs["visual"]
    renamed = dataclasses.replace(
        visual, inputs=(dataclasses.replace(visual.inputs[0], name="clip"), *visual.inputs[1:])
    )
    seal(path, dataclasses.replace(manifest, graphs={**manifest.graphs, "visual": renamed}))
    with pytest.raises(MaclipError) as caught:
        Encoder(Bundle.open(path), "cpu").features(random_frames(1))
    assert caught.value.code == "bundle-schema"


def test_graph_that_does_not_load(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    manifest = Manifest.from_json((path / "manifest.json").read_text())
    (path / "visual.onnx").write_bytes(b"\xff" * 100)
    seal(path, manifest)
    with pytest.raises(MaclipError) as caught:
        Encoder(Bundle.open(path), "cpu").features(random_frames(1))
    assert caught.value.code == "bundle-corrupt"
