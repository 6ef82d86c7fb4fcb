"""OTAM, Bi-MHM and TRX against loops on plain numbers."""

from __future__ import annotations

import itertools
import math

import pytest
import reference
import torch
from torch.nn import functional as F

import maclip
from maclip.config import MetricConfig
from maclip.model.losses import text_logits
from maclip_runtime.errors import MaclipError


def test_otam_agrees_with_the_literal_reference():
    torch.manual_seed(0)
    query, support = torch.randn(3, 8, 16, dtype=torch.float64), torch.randn(4, 8, 16, dtype=torch.float64)
    out = maclip.metrics.otam(query, support)
    expected = [[reference.otam(q, s) for s in support] for q in query]
    torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_otam_takes_clips_of_different_length():
    query, support = torch.randn(2, 5, 16, dtype=torch.float64), torch.randn(3, 8, 16, dtype=torch.float64)
    out = maclip.metrics.otam(query, support)
    assert out[1, 2].item() == pytest.approx(reference.otam(query[1], support[2]), abs=1e-9)


def test_otam_prefers_the_right_order_and_bimhm_does_not_mind():
    frames = torch.eye(8).unsqueeze(0)
    backwards = frames.flip(1)
    assert maclip.metrics.otam(frames, frames) < maclip.metrics.otam(frames, backwards) - 1
    torch.testing.assert_close(maclip.metrics.bimhm(frames, frames), maclip.metrics.bimhm(frames, backwards))


def test_bimhm_agrees_with_loops():
    query, support = torch.randn(2, 4, 8), torch.randn(3, 4, 8)
    out = maclip.metrics.bimhm(query, support)
    for i, q in enumerate(query):
        for j, s in enumerate(support):
            d = [[1 - torch.cosine_similarity(a, b, dim=0).item() for b in s] for a in q]
            expected = sum(min(row) for row in d) + sum(min(column) for column in zip(*d, strict=True))
            assert out[i, j].item() == pytest.approx(expected, abs=1e-5)


def test_mean_features_know_no_order():
    query, support = torch.randn(2, 4, 8), torch.randn(3, 4, 8)
    out = metric_of("mean", 8, 4)(query, support)
    expected = 4 * (1 - torch.cosine_similarity(query.mean(1)[:, None], support.mean(1)[None], dim=-1))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(metric_of("mean", 8, 4)(query.flip(1), support), out)


def metric_of(name: str, width: int, frames: int):
    torch.manual_seed(5)
    return maclip.metrics.build_metric(MetricConfig.of(metric=name), width, frames).eval()


@pytest.mark.parametrize("frames", [2, 16, 17, 32])
def test_otam_is_exact_at_the_ends_of_its_range_and_for_long_clips(frames):
    """float32 against the reference: distances of 0 and 2 in patterns that favour one way through the cells."""
    up = torch.eye(8)[0].repeat(frames, 1)
    half, first = up.clone(), up.clone()
    half[frames // 2 :] *= -1
    first[1:] *= -1
    support = torch.stack([up, -up, half, -half, first, up * (-1.0) ** torch.arange(frames)[:, None]])
    found = maclip.metrics.otam(support, support)
    for i, j in itertools.product(range(6), range(6)):
        assert found[i, j].item() == pytest.approx(reference.otam(support[i], support[j]), rel=1e-5, abs=2e-5)


def test_otam_with_other_smoothing_and_one_frame_agrees_with_the_reference():
    query, support = torch.randn(1, 8, 16), torch.randn(1, 8, 16)
    for smoothing in (0.05, 0.1, 2.0):  # the first two are beyond what float32 can multiply
        found = maclip.metrics.otam(query, support, smoothing).item()
        assert found == pytest.approx(reference.otam(query[0], support[0], smoothing), abs=1e-5)
    found = maclip.metrics.otam(query[:, :1], support[:, :1]).item()
    assert found == pytest.approx(reference.otam(query[0, :1], support[0, :1]), abs=1e-5)


def trx_by_loops(state: dict[str, torch.Tensor], query: torch.Tensor, support: torch.Tensor, size: int, at: int):
    """Perrett et al., section 3: tuples are concatenated, one at a time; [T, D], [T, D] -> a number."""
    frames, width = query.shape
    key, value = (  # of a linear layer on the concatenation: [1152, size * D]
        torch.cat(list(state[f"relations.{at}.{name}.weight"].split(1152)), dim=1) for name in ("key", "value")
    )
    angles = [[t / 10_000 ** (2 * (d // 2) / width) for d in range(width)] for t in range(frames)]
    position = torch.tensor([[(math.cos if d % 2 else math.sin)(a) for d, a in enumerate(row)] for row in angles])
    query, support = query + 0.1 * position, support + 0.1 * position

    def keys_and_values(clip: torch.Tensor):
        rows = [torch.cat([clip[t] for t in chosen]) for chosen in itertools.combinations(range(frames), size)]
        keys = [reference.layer_norm(norm, "norm", key @ row + state[f"relations.{at}.key_bias"]) for row in rows]
        return keys, [value @ row for row in rows]

    norm = {f"norm.{part}": state[f"relations.{at}.key_norm.{part}"] for part in ("weight", "bias")}
    keys, values = keys_and_values(support)
    total = 0.0
    for own_key, own_value in zip(*keys_and_values(query), strict=True):
        weights = torch.softmax(torch.stack([own_key @ other for other in keys]) / math.sqrt(1152), dim=0)
        attended = sum(w * v for w, v in zip(weights, values, strict=True))
        total += float((own_value - attended).pow(2).sum())
    return total / len(keys)


@pytest.mark.parametrize(("name", "sizes"), [("trx", (2,)), ("trx-triples", (2, 3))])
def test_trx_agrees_with_loops_over_tuples(name, sizes):
    metric = metric_of(name, 16, 5).double()
    for parameter in metric.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    query, support = torch.randn(2, 5, 16, dtype=torch.float64), torch.randn(3, 5, 16, dtype=torch.float64)
    found, state = metric(query, support), metric.state_dict()
    for i, j in itertools.product(range(2), range(3)):
        expected = sum(trx_by_loops(state, query[i], support[j], size, at) for at, size in enumerate(sizes))
        # The positions are float32.
        assert found[i, j].item() == pytest.approx(expected, rel=1e-5)


def test_trx_counts_order_and_begins_as_a_linear_layer_on_the_concatenation():
    metric = metric_of("trx", 64, 8)
    assert metric.relations[0].tuples.tolist() == [list(pair) for pair in itertools.combinations(range(8), 2)]
    assert sum(p.numel() for p in metric.parameters()) == 2 * 1152 * 2 * 64 + 3 * 1152
    assert metric.relations[0].key.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 128), rel=0.02)
    clip = torch.randn(1, 8, 64)
    assert metric(clip, clip) != metric(clip, clip.flip(1))


def test_trx_drops_frames_features_only_in_training():
    metric, clip = metric_of("trx", 16, 4), torch.randn(1, 4, 16)
    assert torch.equal(metric(clip, clip), metric(clip, clip))
    metric.train()
    assert not torch.equal(metric(clip, clip), metric(clip, clip))


@pytest.mark.parametrize("name", maclip.metrics.METRICS)
def test_half_precision_stays_close_and_finite(name):
    metric = metric_of(name, 64, 8)
    query, support = torch.randn(4, 8, 64) * 30, torch.randn(5, 8, 64) * 30
    out = metric(query.half(), support.half())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, metric(query, support), rtol=2e-3, atol=2e-2)
    with torch.autocast("cpu", torch.bfloat16):
        out = metric(query * 1e3, support * 1e3)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


@pytest.mark.parametrize("name", ["otam", "bimhm"])
def test_mixed_precision_leaves_cosines_as_exact_as_their_features(name):
    base = torch.randn(8, 512)  # clips that are much alike: rounding to bfloat16 would make classes change places
    query, support = (base + 0.3 * torch.randn(n, 8, 512) for n in (20, 5))
    metric = metric_of(name, 512, 8)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = metric(query, support)
        logits = text_logits(query, support[:, 0], 1.0)
    torch.testing.assert_close(mixed, metric(query, support))
    torch.testing.assert_close(logits, text_logits(query, support[:, 0], 1.0))


@pytest.mark.parametrize("name", maclip.metrics.METRICS)
def test_every_metric_is_differentiable_batched_and_the_same_under_vmap(name):
    metric = metric_of(name, 16, 4)
    query, support = torch.randn(3, 2, 4, 16, requires_grad=True), torch.randn(3, 5, 4, 16, requires_grad=True)
    each = torch.stack([metric(q, s) for q, s in zip(query, support, strict=True)])
    torch.testing.assert_close(torch.func.vmap(metric)(query, support), each)
    torch.testing.assert_close(each[1, 1:, 2:3], metric(query[1, 1:], support[1, 2:3]))
    each.sum().backward()
    for tensor in (query, support, *metric.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0


@pytest.mark.parametrize("frames", [8, 16, 20])
def test_gradients_of_otam_are_those_of_the_numbers(frames):
    """Extremes too: opposite frames, where a gain is exp(-64), against differences in float64."""
    torch.manual_seed(1)
    base = torch.randn(8, dtype=torch.float64)
    signs = torch.where(torch.rand(2, 1, frames, 1) < 0.5, -1.0, 1.0)
    query, support = (base * sign + 0.05 * torch.randn(1, frames, 8, dtype=torch.float64) for sign in signs)
    direction = torch.randn(1, frames, 8, dtype=torch.float64)
    step = 1e-6
    change = maclip.metrics.otam(query + step * direction, support) - maclip.metrics.otam(
        query - step * direction, support
    )
    leaf = query.float().requires_grad_()
    maclip.metrics.otam(leaf, support.float()).backward()
    assert leaf.grad is not None
    assert (leaf.grad * direction).sum().item() == pytest.approx(change.item() / 2 / step, rel=1e-3, abs=1e-3)


def test_frames_without_length_are_at_distance_one_and_give_no_nan():
    query = torch.zeros(1, 2, 4, requires_grad=True)
    distance = maclip.metrics.bimhm(query, torch.randn(1, 2, 4))
    assert distance.item() == 4
    distance.sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_text_logits_are_scaled_cosines():
    features, text = torch.randn(3, 8, 16) * 5, torch.randn(4, 16) * 7
    expected = 100 * F.cosine_similarity(features.mean(1)[:, None], text[None], dim=-1)
    torch.testing.assert_close(text_logits(features, text, 100), expected)
    assert torch.equal(text_logits(features, text * 0, 100), torch.zeros(3, 4))


def test_gradients_of_identical_clips_are_finite():
    clip = torch.randn(1, 8, 16, requires_grad=True)
    maclip.metrics.otam(clip, clip).sum().backward()
    assert clip.grad is not None
    assert clip.grad.isfinite().all()


def test_a_metric_is_added_by_one_decorated_function(monkeypatch):
    monkeypatch.setitem(maclip.metrics.METRICS, "mean-cosine", None)  # so that it is gone afterwards

    @maclip.metrics.metric("mean-cosine")
    def mean_cosine(query: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
        return 1 - F.cosine_similarity(query.mean(1)[:, None], support.mean(1)[None], dim=-1)

    found = metric_of("mean-cosine", 16, 8)
    assert list(found.parameters()) == []
    assert found(torch.randn(2, 8, 16), torch.randn(3, 8, 16)).shape == (2, 3)


def test_unknown_metric_names_the_known_ones():
    with pytest.raises(MaclipError, match="dtw") as caught:
        metric_of("dtw", 16, 8)
    assert caught.value.code == "metric-unknown"
    assert all(name in caught.value.fix for name in ("otam", "bimhm", "trx", "trx-triples"))


def test_trx_refuses_clips_shorter_than_its_tuples():
    with pytest.raises(MaclipError) as caught:
        metric_of("trx-triples", 16, 2)
    assert caught.value.code == "metric-frames"
