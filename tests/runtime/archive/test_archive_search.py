"""Distances of single windows, where something is wrong with their features."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from maclip_runtime import Recognizer
from maclip_runtime.archive.search import Searcher


def test_a_window_whose_features_are_not_finite_is_infinitely_far(bundle: Path, gallery: Path) -> None:
    with Recognizer.open(bundle, gallery, device="cpu", threads=1) as recognizer:
        manifest = recognizer.bundle.manifest
        features = (
            np.random.default_rng(0).standard_normal((3, manifest.frames, manifest.feature_width)).astype(np.float32)
        )
        features[1, 2, 0] = np.nan
        view = SimpleNamespace(features=lambda rows: features[rows])
        distances = Searcher(view, recognizer.encoder, features[0]).measure(np.arange(3))
    assert np.isfinite(distances).tolist() == [True, False, True]
    assert distances[0] < distances[2]
