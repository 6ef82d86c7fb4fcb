"""Rejection learned in training: the loss, its probabilities, and the scalar in the model."""

from __future__ import annotations

import math

import pytest
import torch
from test_trainer import one_episode, small

from maclip.model.losses import fuse, open_set_loss
from maclip_runtime.errors import MaclipError

__all__ = ["small"]  # the fixture that gives every test here the small backbone


def literal(distances: list[list[float]], labels: list[int], none: float) -> float:
    """L_open of docs/method.md, section 8, one query after the other."""

    def surprise(candidates: list[float], of: int) -> float:
        return candidates[of] + math.log(sum(math.exp(-d) for d in candidates))

    right = [surprise([*row, none], label) for row, label in zip(distances, labels, strict=True) if label >= 0]
    nothing = []
    for row, label in zip(distances, labels, strict=True):
        others = [d for place, d in enumerate(row) if place != label]
        nothing.append(surprise([*others, none], len(others)))
    return (sum(right) / len(right) + sum(nothing) / len(nothing)) / 2


def test_the_loss_is_the_one_written_down():
    torch.manual_seed(0)
    distances, labels, none = torch.randn(6, 4, dtype=torch.float64) * 3, [0, 1, 2, 3, -1, -1], 1.5
    found = open_set_loss(distances, torch.tensor(labels), torch.tensor(none, dtype=torch.float64))
    assert float(found) == pytest.approx(literal(distances.tolist(), labels, none), abs=1e-9)


def test_none_takes_its_share_of_the_probabilities():
    torch.manual_seed(0)
    scores, distances, none = torch.randn(5, 3), torch.randn(5, 3) * 2, torch.tensor(0.7)
    p_none = torch.cat([-distances, -none.expand(5, 1)], 1).softmax(-1)[:, -1]
    for weight in (0.0, 0.4):
        for has_text in (None, torch.tensor([True, True, True])):
            total = fuse(scores, distances, has_text, weight, none).sum(-1)
            torch.testing.assert_close(total, 1 - p_none)
        partly = fuse(scores, distances, torch.tensor([True, False, True]), weight, none)
        torch.testing.assert_close(partly.sum(-1), 1 - p_none)
    far = fuse(scores, distances, None, 0.0, torch.tensor(100.0))
    torch.testing.assert_close(far, fuse(scores, distances, None, 0.0))


def test_the_scalar_is_trained_without_weight_decay_and_belongs_to_the_run(make_model):
    model = make_model(adapted_depth=1, open_set_weight=0.5, none_distance=3.0)
    with torch.no_grad():
        model.none_distance.fill_(3.0)
    optimizer, batch = one_episode(model, weight_decay=1.0)
    decay = {id(p): group["weight_decay"] for group in optimizer.optimizer.param_groups for p in group["params"]}
    assert decay[id(model.none_distance)] == 0.0
    assert {decay[id(p)] for p in model.tuned_parameters() if p.ndim} == {1.0}
    optimizer.accumulate(batch)
    assert model.none_distance.grad.abs() > 0
    assert "none_distance" in model.tuned_state()
    assert "none_distance" not in make_model(adapted_depth=1).tuned_state()


def test_without_rejection_the_loss_is_the_papers(make_model):
    losses = []
    for weight in (0.0, 0.5):
        model = make_model(adapted_depth=1, open_set_weight=weight)
        optimizer, batch = one_episode(model)
        torch.manual_seed(batch.seed)
        losses.append(float(optimizer.step(model, batch)[0]))
    assert losses[0] != losses[1]


@pytest.mark.parametrize("choice", [{"open_set_weight": -0.1}, {"open_set_weight": 1.5}, {"none_distance": math.inf}])
def test_values_out_of_range_are_refused(make_model, choice):
    with pytest.raises(MaclipError) as refused:
        make_model(**choice)
    assert refused.value.code == "option-invalid"
