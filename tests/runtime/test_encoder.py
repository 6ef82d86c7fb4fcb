"""The graphs run on the device that was asked for, and mean the same in both layouts."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_bundle import FRAMES, SIZE, WIDTH, seal, text_features, write_bundle

from maclip_runtime.bundle import Bundle
from maclip_runtime.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.manifest import Manifest


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


def test_auto_says_what_it_chose(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "maclip"):
        encoder = Encoder(Bundle.open(bundle))
    assert encoder.device in ("cpu", "cuda")
    assert [record.message.split(" (")[0] for record in caplog.records] == [f"device: {encoder.device}"]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is there")
def test_absent_device_is_never_replaced(bundle: Path) -> None:
    with pytest.raises(MaclipError) as caught:
        Encoder(Bundle.open(bundle), "cuda")
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", 3)


def test_listed_cuda_that_does_not_start_is_missing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What onnxruntime-gpu does without a GPU: lists CUDA, and puts the session on the CPU.
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, sess_options, providers: real(path, sess_options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(MaclipError) as caught:
        Encoder(Bundle.open(bundle), "cuda")
    assert caught.value.code == "device-missing"
    assert Encoder(Bundle.open(bundle), "auto").device == "cpu"


def test_unknown_device(bundle: Path) -> None:
    with pytest.raises(MaclipError, match="auto, cpu, cuda") as caught:
        Encoder(Bundle.open(bundle), "tpu")
    assert caught.value.code == "device-unknown"


def test_no_onnxruntime(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MaclipError, match=r"maclip\[cpu\]") as caught:
        Encoder(Bundle.open(bundle))
    assert (caught.value.code, caught.value.exit_code) == ("engine-missing", 3)


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
