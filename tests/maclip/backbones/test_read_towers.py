"""Towers whose blocks cannot be adapted: read by a ladder, whole with the prototype module alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_clip import learn_once, randomised
from small_towers import READ_ONLY, small_backbone_of
from timm.utils.model import reparameterize_model

from maclip.backbones.catalogue import look_up
from maclip.backbones.cutting import cut_tower
from maclip.config import ModelConfig
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError

KINDS = sorted(READ_ONLY)
FRAMES = torch.randint(0, 256, (2, 8, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
LADDER = {"adapters": "ladder", "ladder_width": 16}


@pytest.mark.parametrize(
    "choice",
    [{"adapters": "none"}, LADDER, {"adapters": "blocks", "adapted_depth": 0}],
    ids=["none", "ladder", "frozen"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_untrained_it_is_the_librarys_own_encoder(kind, choice):
    model = MaClip(small_backbone_of(kind), ModelConfig.of(**choice, prototype="none")).eval().double()
    normed = (FRAMES.flatten(0, 1).double() / 255 - model.pixel_mean) / model.pixel_std
    with torch.no_grad():
        expected = model.clip.encode_image(normed.permute(0, 3, 1, 2)).unflatten(0, (2, 8))
        torch.testing.assert_close(model.features(FRAMES), expected, rtol=1e-9, atol=1e-9)
        tokens = model.frozen(FRAMES.flatten(0, 1))
        torch.testing.assert_close(model.encode(tokens.unflatten(0, (2, 8))), expected, rtol=1e-9, atol=1e-9)
    assert tokens.shape[1:] == model.frozen_stem().shape
    assert model.image.mean_from == READ_ONLY[kind][1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_ladder_on_it_learns_and_streams(kind):
    model = randomised(MaClip(small_backbone_of(kind), ModelConfig.of(**LADDER))).train()
    text = learn_once(model, FRAMES)
    with torch.no_grad():
        whole = model.features(FRAMES, text)
        stems = torch.cat([model.stem(frame) for frame in FRAMES.flatten(0, 1).split(3)])  # as frames arrive
        streamed = model.tower(stems.unflatten(0, (2, 8)), text)
    torch.testing.assert_close(streamed, whole, rtol=2e-3, atol=2e-3 * float(whole.abs().max()))  # kept in halves


def test_places_of_a_staged_tower_are_averages_of_its_own_stages():
    visual = small_backbone_of("convnext").clip.visual
    tower, pixels = cut_tower(visual), torch.randn(2, 3, 64, 64)
    assert tower.read_widths == (16, 32, 32, 32, 64, 64)  # before the third stage, then its blocks and the fourth's
    assert tower.read_rows == 4
    with torch.no_grad():
        depths, feature = tower.read(pixels, [4] * 6)
        _, stages = visual.trunk.forward_intermediates(pixels, indices=[1, 2, 3])
        assert feature.shape == (2, 16)
    for depth, stage in ((0, 0), (3, 1), (5, 2)):
        grid = torch.nn.functional.adaptive_avg_pool2d(stages[stage], 2)
        torch.testing.assert_close(depths[depth], grid.flatten(2).transpose(1, 2))


def test_the_papers_adapters_are_refused_with_what_fits():
    assert MaClip(small_backbone_of("fastvit"), ModelConfig()).side is not None  # the default fits
    for choice in ({}, {"adapted_depth": 1}):
        with pytest.raises(MaclipError, match="cannot be adapted") as caught:
            MaClip(small_backbone_of("fastvit"), ModelConfig.of(adapters="blocks", **choice))
        assert caught.value.code == "backbone-unsupported"
        assert "--adapters ladder" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "blocks", "tokens", "class_token"),
    [
        ("MobileCLIP2-S0", 12, 64, False),
        ("EVA02-B-16", 12, 197, True),
        ("PE-Core-B-16", 12, 197, False),
        ("convnext_base_w", 12, 64, False),
        ("RN50", 9, 49, False),
    ],
)
def test_each_family_is_found_without_adaptable_blocks(name, blocks, tokens, class_token):
    found = look_up(name)
    assert (found.problem, found.adaptable) == (None, False)
    assert (found.blocks, found.tokens, found.class_token) == (blocks, tokens, class_token)


@pytest.mark.parametrize("kind", ["eva", "fastvit"])
def test_its_graphs_give_torchs_features(kind, tmp_path: Path):
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    from maclip_export.graphs import graphs_of
    from maclip_export.onnx.sessions import open_session
    from maclip_export.onnx.writer import write_onnx

    model = randomised(MaClip(small_backbone_of(kind), ModelConfig.of(**LADDER, ladder_temporal=(2,)))).eval()
    stem, tower = graphs_of(model)[:2]
    frames = FRAMES[:1]
    file = write_onnx(stem, tmp_path)[0]
    if kind == "fastvit":  # the branches of its convolutions are one
        convolutions = [node for node in onnx.load(file, load_external_data=False).graph.node if node.op_type == "Conv"]
        own, joined = (
            sum(isinstance(module, torch.nn.Conv2d) for module in visual.modules())
            for visual in (model.clip.visual, reparameterize_model(model.clip.visual))
        )
        assert len(convolutions) == joined < own
    (tokens,) = open_session(file).run(None, {"frames": frames[0].numpy()})
    feed = {
        "tokens": tokens[None],
        "text": torch.zeros(1, 16).numpy(),
        "has_text": torch.zeros(1, dtype=torch.bool).numpy(),
    }
    (found,) = open_session(write_onnx(tower, tmp_path)[0]).run(None, feed)
    with torch.no_grad():
        expected = model.tower(model.stem(frames[0])[None])
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))
