"""Models and clips for the tests of the model and its training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_clip import randomised, small_backbone

from maclip.config import ModelConfig
from maclip.model.maclip import MaClip
from maclip.world.synth import write_clips


@pytest.fixture
def make_model() -> Callable[..., MaClip]:
    """The paper's model on the small CLIP, with `choices`, and random tuned tensors."""

    def make(**choices: object) -> MaClip:
        config = ModelConfig.of(**{"adapters": "blocks", **choices})  # type: ignore[arg-type]
        return randomised(MaClip(small_backbone(), config).eval())

    return make


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated clips of 20 motions, 3 each: 12 classes to train on and 8 for validation."""
    root = tmp_path_factory.mktemp("drawn") / "motion"
    write_clips(root, "motion", 3, splits=("val", "test"))
    listed = json.loads((root / "classes.json").read_text())
    for entry in listed["classes"].values():
        entry["split"] = {"test": "train", "val": "val"}[entry["split"]]
    (root / "classes.json").write_text(json.dumps(listed))
    return root
