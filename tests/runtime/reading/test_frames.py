"""Frames as the model sees them, whatever the camera's shape."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import seal

from maclip_runtime import Recognizer
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess, center_crop, prepare, resize_short, resize_to_crop

SHAPES = [(480, 640), (640, 480), (1080, 1920), (240, 320), (255, 256), (100, 101), (36, 50), (20, 33), (1, 3)]


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", SHAPES)
def test_prepared_frame_is_the_centre_of_the_resized_one(shape: tuple[int, int], size: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    preprocess = Preprocess.for_size(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    prepared = prepare(frame, preprocess)
    expected = center_crop(resize_to_crop(frame, preprocess), size)
    assert prepared.shape == (size, size, 3)
    difference = np.abs(prepared.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_a_squashed_frame_keeps_its_whole_picture() -> None:
    frame = np.zeros((48, 96, 3), np.uint8)
    frame[:, :48, 0], frame[:, 48:, 2] = 200, 200  # red on the left, blue on the right
    squashed = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), squash=True)
    for picture, side in ((prepare(frame, squashed), 32), (resize_to_crop(frame, squashed), 37)):
        assert picture.shape == (side, side, 3)
        assert (picture[:, : side // 2 - 2] == (200, 0, 0)).all()
        assert (picture[:, side // 2 + 3 :] == (0, 0, 200)).all()


def test_training_crops_from_the_resized_frame() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    cut = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (resize_to_crop(frame, cut) == resize_short(frame, 37)).all()


def test_a_bundle_of_squashed_frames_sees_the_ends_of_wide_ones(bundle: Path, tmp_path: Path) -> None:
    squashing = Path(shutil.copytree(bundle, tmp_path / "squashing"))
    manifest = Bundle.open(squashing).manifest
    size, mean, std = manifest.preprocess.size, manifest.preprocess.mean, manifest.preprocess.std
    seal(squashing, dataclasses.replace(manifest, preprocess=Preprocess.for_size(size, mean, std, squash=True)))
    frames = np.zeros((manifest.frames, 100, 300, 3), np.uint8)
    frames[:, :, :100, 0], frames[:, :, 200:, 2] = 255, 255  # colours where a cut square does not reach
    black = np.zeros_like(frames)
    for path, blind in ((bundle, True), (squashing, False)):
        with Recognizer.open(path, tmp_path / f"{blind}.db", device="cpu") as recognizer:
            assert np.allclose(recognizer.embed(frames), recognizer.embed(black), atol=1e-3) == blind


@pytest.mark.parametrize("resize", [0, 8, 1 << 20])
def test_a_bundle_that_resizes_to_nothing_or_without_end_is_refused(bundle: Path, tmp_path: Path, resize: int) -> None:
    broken = Path(shutil.copytree(bundle, tmp_path / "broken"))
    manifest = Bundle.open(broken).manifest
    seal(broken, dataclasses.replace(manifest, preprocess=dataclasses.replace(manifest.preprocess, resize=resize)))
    with pytest.raises(MaclipError) as caught:
        Bundle.open(broken)
    assert caught.value.code == "bundle-schema"
