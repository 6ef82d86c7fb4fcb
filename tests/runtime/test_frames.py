"""Frames as the model sees them, whatever the camera's shape."""

from __future__ import annotations

import numpy as np
import pytest

from maclip_runtime.frames import Preprocess, center_crop, prepare, resize_short

SHAPES = [(480, 640), (640, 480), (1080, 1920), (240, 320), (255, 256), (100, 101), (36, 50), (20, 33), (1, 3)]


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", SHAPES)
def test_prepared_frame_is_the_centre_of_the_resized_one(shape: tuple[int, int], size: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    preprocess = Preprocess.for_size(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    prepared = prepare(frame, preprocess)
    expected = center_crop(resize_short(frame, preprocess.resize), size)
    assert prepared.shape == (size, size, 3)
    difference = np.abs(prepared.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
