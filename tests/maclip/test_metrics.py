"""OTAM and Bi-MHM against loops on plain numbers."""

from __future__ import annotations

import pytest
import reference
import torch

import maclip
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


@pytest.mark.parametrize("metric", [maclip.metrics.otam, maclip.metrics.bimhm])
def test_half_precision_stays_close_and_finite(metric):
    query, support = torch.randn(4, 8, 64) * 30, torch.randn(5, 8, 64) * 30
    out = metric(query.half(), support.half())
    assert out.isfinite().all()
    torch.testing.assert_close(out, metric(query, support), rtol=0, atol=2e-2)


def test_gradients_of_identical_clips_are_finite():
    clip = torch.randn(1, 8, 16, requires_grad=True)
    maclip.metrics.otam(clip, clip).sum().backward()
    assert clip.grad is not None
    assert clip.grad.isfinite().all()


def test_unknown_metric_names_the_known_ones():
    with pytest.raises(MaclipError, match="otam") as caught:
        maclip.metrics.build_metric("dtw")
    assert caught.value.code == "metric-unknown"
