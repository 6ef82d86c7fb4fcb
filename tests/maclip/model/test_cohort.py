"""Distances less what is usual for a query, against loops; and what they change in a model's answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_trainer import small

from maclip.data.dataset import open_folders
from maclip.evaluation.evaluator import Evaluator, Outcomes
from maclip.evaluation.features import store_for
from maclip.evaluation.selection import balance_none, stranger_auroc
from maclip.model.cohort import Cohort
from maclip.model.losses import open_set_loss

__all__ = ["small"]  # the fixture that gives every test here the small backbone


@pytest.mark.parametrize("classes", [1, 4, 9])
@pytest.mark.parametrize("metric", ["otam", "trx"])
def test_a_query_far_from_the_cohort_comes_nearer_by_the_weight(make_model, classes, metric):
    torch.manual_seed(1)
    model = make_model(adapted_depth=1, open_set_weight=0.5, metric=metric)
    features, prototypes, text = torch.randn(3, 8, 16), torch.randn(5, 8, 16), torch.randn(5, 16)
    with torch.no_grad():
        plain, before = model.match(features, prototypes, text)
        others = torch.randn(classes, 8, 16)
        model.cohort = Cohort(others, 0.25, typical=1.5)
        found, after = model.match(features, prototypes, text)
        away = model.metric(model.prototypes(features), others).tolist()
    for row in range(3):
        near = sorted(away[row])[:5]
        moved = 0.25 * (1.5 - sum(near) / len(near))
        np.testing.assert_allclose(found[row], plain[row] + moved, rtol=1e-4, atol=1e-4)
    if metric == "otam":  # TRX's distances are so large that no probability is left beside that of "none"
        # Only "none of these" gains or loses by it: among the classes nothing changes.
        torch.testing.assert_close(after / after.sum(-1, keepdim=True), before / before.sum(-1, keepdim=True))
        assert not torch.allclose(after, before)


def test_a_cohort_is_not_trained_and_not_among_the_tuned_tensors(make_model):
    model = make_model(adapted_depth=1)
    tuned, parameters = model.tuned_state().keys(), len(model.tuned_parameters())
    model.cohort = Cohort(torch.randn(4, 8, 16), 0.5)
    assert model.tuned_state().keys() == tuned
    assert len(model.tuned_parameters()) == parameters


def test_an_evaluation_has_the_distances_that_matching_gives(drawn_data, make_model):
    model = make_model(adapted_depth=1)
    store = store_for(model, open_folders(drawn_data).split("val"))
    evaluator = Evaluator(model, store)
    plain = evaluator.outcomes(4, 1, 20, seed=5)
    model.cohort = Cohort(torch.randn(6, 8, 16), 0.5, typical=0.7)
    found = evaluator.outcomes(4, 1, 20, seed=5)
    assert (found.distances - plain.distances).abs().min() > 1e-4
    with torch.no_grad():
        shift = model.cohort.shift(model.metric, evaluator.queries)
        features = model.encode(store.load(np.arange(len(store))))
        torch.testing.assert_close(shift, model.cohort.shift(model.metric, model.prototypes(features)))
    moved = (found.distances - plain.distances).flatten(0, 1)  # one number for each query
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), atol=1e-5, rtol=1e-4)
    assert set(np.round(moved[:, 0].tolist(), 3)) <= set(np.round(shift.tolist(), 3))
    assert torch.equal(found.answers(0.4), plain.answers(0.4))


def outcomes_of(distances: torch.Tensor) -> Outcomes:
    labels = torch.arange(distances.shape[1])
    return Outcomes(torch.zeros_like(distances), distances, labels, np.zeros(distances.shape[::2], np.int64))


def test_strangers_are_queries_without_their_own_class():
    torch.manual_seed(2)
    distances = torch.rand(30, 3, 3)
    distances[:, range(3), range(3)] -= 0.4
    known = [min(row) for episode in distances.tolist() for row in episode]
    strangers = [min(row[:at] + row[at + 1 :]) for episode in distances.tolist() for at, row in enumerate(episode)]
    wins = [(s > k) + (s == k) / 2 for s in strangers for k in known]
    assert stranger_auroc(outcomes_of(distances)) == pytest.approx(sum(wins) / len(wins))


def test_the_balanced_distance_of_none_has_the_smallest_loss():
    torch.manual_seed(3)
    several = [outcomes_of(torch.randn(40, 4, 4) + torch.eye(4) * -shift - 2.0) for shift in (1.0, 3.0)]

    def loss(none: float) -> float:
        each = [
            open_set_loss(one.distances.flatten(0, 1).double(), one.labels.repeat(40), torch.tensor(none).double())
            for one in several
        ]
        return sum(map(float, each))

    found = balance_none(several)
    assert math.isfinite(found)
    assert loss(found) <= min(loss(found + step) for step in (-1.0, -0.05, 0.05, 1.0))
