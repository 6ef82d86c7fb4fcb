"""Distances of single windows, where something is wrong with their features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from maclip_runtime import Recognizer
from maclip_runtime.archive import search
from maclip_runtime.archive.packing import Packing


def test_a_window_whose_features_are_not_finite_is_infinitely_far(
    bundle: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recognizer.open(bundle, gallery, device="cpu", threads=1) as recognizer:
        frames, width = recognizer.bundle.manifest.frames, recognizer.bundle.manifest.feature_width
        features = np.random.default_rng(0).standard_normal((3, frames, width)).astype(np.float32)
        features[1, 2, 0] = np.nan
        monkeypatch.setattr(search, "features_of", lambda places, count, packing: features[:count])
        exact = search.Exact(recognizer.encoder, features[0], Packing(frames, width))
        (distances,) = exact.parts(([], 3), 0)
    assert np.isfinite(distances).tolist() == [True, False, True]
    assert distances[0] < distances[2]
