"""The model against the literal reference, its parameters and its gradients."""

from __future__ import annotations

import math

import pytest
import reference
import torch

import maclip
from maclip.adapters.blocks import Adapter
from maclip.model.losses import episode_loss, fuse, mean_by_class, text_logits


def pixels(clips: int, frames: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (clips, frames, 32, 32, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("named", [True, False])
def test_features_agree_with_the_literal_reference(make_model, depth, named):
    model = make_model(adapted_depth=depth).double()
    frames = pixels(2)
    text = torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) if named else None
    with torch.no_grad():
        features = model.features(frames, text)
    for b in range(2):
        expected = reference.frame_features(
            model.state_dict(), frames[b], model.pixel_mean, model.pixel_std,
            None if text is None else text[b], layers=3, depth=depth, heads=4,
        )  # fmt: skip
        torch.testing.assert_close(features[b], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("named", [True, False])
def test_prototypes_agree_with_the_literal_reference(make_model, named):
    model = make_model().double()
    features = torch.randn(3, 8, 16, dtype=torch.float64)
    text = torch.randn(3, 16, dtype=torch.float64) if named else None
    with torch.no_grad():
        out = model.prototypes(features, text)
    for c in range(3):
        expected = reference.prototype(model.state_dict(), features[c], None if text is None else text[c])
        torch.testing.assert_close(out[c], expected, rtol=1e-5, atol=1e-5)


def test_one_pass_serves_clips_with_and_without_text(make_model):
    model = make_model(adapted_depth=2).double()
    frames, text = pixels(2), torch.randn(2, 16, dtype=torch.float64)
    has_text = torch.tensor([True, False])
    with torch.no_grad():
        mixed = model.features(frames, text, has_text)
        torch.testing.assert_close(mixed[0], model.features(frames[:1], text[:1])[0])
        torch.testing.assert_close(mixed[1], model.features(frames[1:])[0])
        prototypes = model.prototypes(mixed, text, has_text)
        torch.testing.assert_close(prototypes[0], model.prototypes(mixed[:1], text[:1])[0])
        torch.testing.assert_close(prototypes[1], model.prototypes(mixed[1:])[0])


def test_depth_zero_without_prototypes_is_clip(make_model):
    model = make_model(adapters="none", prototype="none")
    assert not model.tuned_parameters()
    frames = pixels(2)
    normed = (frames.flatten(0, 1).float() / 255 - model.pixel_mean) / model.pixel_std
    with torch.no_grad():
        expected = model.clip.encode_image(normed.permute(0, 3, 1, 2)).unflatten(0, (2, 8))
        torch.testing.assert_close(model.features(frames), expected)


def test_gradient_reaches_every_tuned_parameter_and_no_frozen_one(make_model):
    model = make_model(adapted_depth=2).train()
    frames, text = pixels(4), model.encode_names(["waving", "jumping"])
    support_labels = query_labels = torch.tensor([0, 1])
    support = model.features(frames[:2], text[support_labels])
    query = model.features(frames[2:])
    prototypes = mean_by_class(model.prototypes(support, text[support_labels]), support_labels, 2)
    distances, _ = model.match(query, prototypes, text)
    loss = episode_loss(
        text_logits(support, text, 5.0),
        text_logits(query, text, 5.0),
        distances,
        support_labels,
        query_labels,
        0.4,
    )
    loss.backward()
    tuned = {id(parameter) for parameter in model.tuned_parameters()}
    assert len(tuned) == len(model.tuned_state())
    for name, parameter in model.named_parameters():
        if id(parameter) in tuned:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert name.startswith("clip."), name
            assert parameter.grad is None, name


def test_training_leaves_the_frozen_clip_in_evaluation_mode(make_model):
    model = make_model(adapted_depth=1).train()
    assert model.training
    assert all(module.training for module in model.prototype.modules())
    assert not any(module.training for module in model.clip.modules())
    assert not any(module.training for module in model.eval().modules())


def test_weight_keys_are_those_of_the_design(make_model):
    keys = set(make_model(adapted_depth=1).tuned_state())
    expected = {"temporal_embedding", "blocks.2.text.weight", "blocks.2.text.bias"}
    for part in ("temporal", "multimodal", "joint"):
        expected |= {f"blocks.2.{part}.{d}.{w}" for d in ("down", "up") for w in ("weight", "bias")}
    expected |= {
        f"prototype.attention.{k}" for k in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    }
    expected |= {
        f"prototype.{n}.{w}" for n in ("norm_attention", "norm_ffn", "ffn.0", "ffn.2") for w in ("weight", "bias")
    }
    assert keys == expected


def test_parameter_counts_are_the_papers():
    model = maclip.build("ViT-B-32", "none", adapters="blocks")
    total = sum(parameter.numel() for parameter in model.parameters())
    tuned = sum(parameter.numel() for parameter in model.tuned_parameters())
    assert model.prototype is not None
    tpcm = sum(parameter.numel() for parameter in model.prototype.parameters())
    assert (round(total / 1e6, 2), round(tuned / 1e6, 2), round(tpcm / 1e6, 2)) == (169.82, 18.54, 3.15)
    assert total == 151_277_313 + tuned


def test_adapters_start_as_nothing():
    assert Adapter(8, 2, 0.02)(torch.randn(3, 8)).abs().max() == 0


def test_fusion_is_the_papers_sum_when_all_are_named_and_the_metric_when_none_is():
    scores, distances = torch.randn(4, 3), torch.rand(4, 3)
    p_text, p_metric = scores.softmax(-1), (-distances).softmax(-1)
    torch.testing.assert_close(fuse(scores, distances, None, 0.4), 0.4 * p_text + 0.6 * p_metric)
    torch.testing.assert_close(fuse(scores, distances, torch.tensor([True] * 3), 0.4), 0.4 * p_text + 0.6 * p_metric)
    torch.testing.assert_close(fuse(scores, distances, torch.tensor([False] * 3), 0.4), p_metric)
    mixed = fuse(scores, distances, torch.tensor([True, False, True]), 0.4)
    torch.testing.assert_close(mixed.sum(-1), torch.ones(4))
    torch.testing.assert_close(mixed[:, 1], p_metric[:, 1])


def test_the_loss_is_that_of_the_paper_by_hand():
    # Logits that are logarithms of probabilities, so that each cross-entropy is -log of what the true class has.
    support = torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log()
    query, distances = torch.tensor([[0.25, 0.75]]).log(), -torch.tensor([[0.1, 0.9]]).log()
    loss = episode_loss(support, query, distances, torch.tensor([0, 1]), torch.tensor([0]), 0.3)
    support_loss, query_loss, metric_loss = -(math.log(0.5) + math.log(0.8)) / 2, -math.log(0.25), -math.log(0.1)
    assert loss.item() == pytest.approx(0.15 * (support_loss + query_loss) + 0.7 * metric_loss)
