"""Exporting takes seconds a graph: bundles of the small models are made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_models import NAMES, randomised

import maclip
from maclip.model import MaClip
from maclip_export.bundle_writer import Material, write_bundle
from maclip_export.trial import drawn_trial
from maclip_runtime.manifest import Unknown


@pytest.fixture(scope="session")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> tuple[MaClip, Path]:
    """The tiny CLIP with its last two blocks adapted, and its bundle: stem and tower."""
    model = randomised(maclip.build("tiny", "none", adapted_depth=2))
    out = tmp_path_factory.mktemp("shallow") / "bundle"
    write_bundle(model, out, Material(NAMES, drawn_trial(model, 2), unknown=Unknown(1.5, "nothing, for a test")))
    return model, out


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> tuple[MaClip, Path]:
    """The tiny CLIP with all blocks adapted, and its bundle: one visual graph."""
    model = randomised(maclip.build("tiny", "none"))
    out = tmp_path_factory.mktemp("deep") / "bundle"
    write_bundle(model, out, Material(NAMES, drawn_trial(model, 2)))
    return model, out
