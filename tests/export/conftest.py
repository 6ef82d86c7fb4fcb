"""Exporting takes seconds a graph: bundles of the small models are made once, whichever process asks first."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_once import Once
from random_models import NAMES, Made, made, randomised, two_blocks

import maclip
from maclip.model.maclip import MaClip
from maclip.runs import put_none_distance
from maclip_export.bundle.writer import Material, write_bundle
from maclip_export.gate.trial import drawn_trial
from maclip_export.options import ExportOptions
from maclip_runtime.bundle.manifest import Limit


@pytest.fixture(scope="session")
def shallow(once: Once) -> tuple[MaClip, Path]:
    """The tiny CLIP with its last two blocks adapted and "none of these" learned, and its bundle: stem and tower."""
    model = maclip.build("tiny", "none", adapters="blocks", adapted_depth=2, open_set_weight=0.5)
    randomised(model, cohort=True)
    put_none_distance(model, 2.0)
    material = Material(NAMES, drawn_trial(model, 2), limit=Limit(1.5, "nothing, for a test", False))
    return model, once("shallow", lambda folder: write_bundle(model, folder / "bundle", material)) / "bundle"


@pytest.fixture(scope="session")
def deep(once: Once) -> tuple[MaClip, Path]:
    """The tiny CLIP with all blocks adapted, and its bundle: one visual graph."""
    model = randomised(maclip.build("tiny", "none", adapters="blocks"))
    material = Material(NAMES, drawn_trial(model, 2))
    return model, once("deep", lambda folder: write_bundle(model, folder / "bundle", material)) / "bundle"


@pytest.fixture(scope="session")
def eight(once: Once) -> Made:
    """The tiny CLIP with its last two blocks adapted, and its bundle with both int8 forms."""
    return made(once, "eight", ExportOptions(precision="int8"))


@pytest.fixture(scope="session")
def ladder(once: Once) -> Made:
    """A CLIP of two blocks with a ladder beside it, a spatial layer and a temporal one, and its bundle."""
    model = two_blocks(adapters="ladder", ladder_temporal=(2,))
    material = Material(NAMES, drawn_trial(model, 2))
    return model, once("ladder", lambda folder: write_bundle(model, folder / "bundle", material)) / "bundle"
