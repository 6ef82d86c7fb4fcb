"""Towers of timm inside a bundle: a SigLIP's, without class token and pooled by attention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import randomised
from small_towers import small_backbone_of

from maclip.config import ModelConfig
from maclip.model.maclip import MaClip
from maclip_export.bundle.writer import contract_of
from maclip_export.graphs import graphs_of
from maclip_export.onnx.sessions import open_session
from maclip_export.onnx.writer import write_onnx
from maclip_runtime.reading.frames import Preprocess

SQUASHED = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), squash=True)


@pytest.fixture
def siglip() -> MaClip:
    """All three of its blocks adapted: one visual graph, in which every part of the tower is."""
    backbone = replace(small_backbone_of("siglip"), preprocess=SQUASHED)
    return randomised(MaClip(backbone, ModelConfig.of(adapters="blocks")).eval())


def test_a_siglips_graph_gives_torchs_features_for_any_number_of_clips(siglip: MaClip, tmp_path: Path):
    graph = graphs_of(siglip)[0]
    session = open_session(write_onnx(graph, tmp_path)[0])
    frames = torch.randint(0, 256, (3, 8, 32, 32, 3), dtype=torch.uint8)
    text = torch.nn.functional.normalize(torch.randn(3, siglip.feature_width), dim=-1)
    has_text = torch.tensor([True, False, True])
    with torch.no_grad():
        expected = siglip.features(frames, text, has_text).numpy()
    for count in (1, 3):
        feed = {"frames": frames[:count], "text": text[:count], "has_text": has_text[:count]}
        (found,) = session.run(None, {name: value.numpy() for name, value in feed.items()})
        assert np.abs(found - expected[:count]).max() < 1e-5 * np.abs(expected).max()


def test_stem_and_tower_state_the_tokens_of_a_tower_without_class_token(siglip: MaClip):
    stem, tower, *_ = graphs_of(MaClip(siglip.backbone, ModelConfig.of(adapters="blocks", adapted_depth=1)))
    assert stem.outputs[0].shape == ("F", 4, 32)
    assert tower.inputs[0].shape == ("B", 8, 4, 32)
    assert tower.outputs[0].shape == ("B", 8, 32)


def test_features_of_squashed_frames_are_not_compared_with_those_of_cut_ones(siglip: MaClip):
    squashed = contract_of(siglip)
    siglip.backbone = replace(siglip.backbone, preprocess=Preprocess.for_size(32, SQUASHED.mean, SQUASHED.std))
    assert contract_of(siglip) != squashed
