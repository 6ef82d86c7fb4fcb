"""Packed windows: as small as promised, and close to what they were."""

from __future__ import annotations

import numpy as np
import pytest

from maclip_runtime.archive.packing import Packing, mean_of


def drawn(count: int, frames: int, width: int) -> np.ndarray:
    """Features that change slowly from frame to frame, as those of video do."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(count, frames, width)).cumsum(axis=1) / 3
    return (rng.normal(size=(count, 1, width)) + steps).astype(np.float32)


@pytest.mark.parametrize(("frames", "width"), [(8, 512), (2, 12), (3, 5), (4, 12), (16, 640)])
def test_what_is_unpacked_is_nearly_what_was_packed(frames: int, width: int) -> None:
    features, packing = drawn(20, frames, width), Packing(frames, width)
    packed = packing.pack(features, features)
    found = packing.unpack(packed.slow, packed.fast, packed.scales)
    assert found.dtype == np.float32
    apart = np.linalg.norm(found - features, axis=(1, 2)) / np.linalg.norm(features, axis=(1, 2))
    assert apart.max() < 0.015
    means = packed.mean * packed.mean_scale[:, None]
    assert np.abs(means - mean_of(features)).max() <= packed.mean_scale.max()


def test_a_window_of_vit_b_16_takes_at_most_4200_bytes() -> None:
    features = drawn(1, 8, 512)
    packed = Packing(8, 512).pack(features, features)
    times, number, video = 4 * 8, 4, 2
    size = sum(array.nbytes for array in vars(packed).values())
    assert size + times + number + video == 4170


def test_features_that_are_not_finite_come_back_so_and_spoil_no_other_window() -> None:
    features = drawn(3, 8, 32)
    features[1, 2, 3] = np.nan
    features[2] = 0
    packing = Packing(8, 32)
    packed = packing.pack(features, features)
    found = packing.unpack(packed.slow, packed.fast, packed.scales)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    assert np.isnan(packed.mean_scale[1])
    assert not found[2].any()
