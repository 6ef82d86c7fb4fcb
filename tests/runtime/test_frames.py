"""Frames as the model sees them, whatever the camera's shape."""

from __future__ import annotations

import numpy as np
import pytest

from maclip_runtime.frames import Preprocess, center_crop, prepare, resize_short, resize_to_crop

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
