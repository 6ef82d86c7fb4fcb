"""Accuracy over episodes, against a loop that does the same one query at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from maclip.data.dataset import open_folders
from maclip.data.episodes import EpisodeSampler
from maclip.evaluation.evaluator import (
    Evaluator,
    Outcomes,
    Support,
    mean_interval,
)
from maclip.evaluation.features import store_for
from maclip.evaluation.selection import choose_fusion_weight, choose_limit
from maclip.model.losses import mean_by_class
from maclip_runtime.errors import MaclipError


@pytest.fixture
def evaluator(drawn_data, make_model) -> Evaluator:
    model = make_model(adapted_depth=1)
    return Evaluator(model, store_for(model, open_folders(drawn_data).split("val")))


@pytest.mark.parametrize("shot", [1, 2])
def test_episodes_agree_with_a_loop_over_single_episodes(drawn_data, make_model, shot):
    model = make_model(adapted_depth=1)
    classes = open_folders(drawn_data).split("val")
    store = store_for(model, classes)
    result = Evaluator(model, store).evaluate(4, shot, 30, seed=5)
    sampler = EpisodeSampler(store.sizes, 4, shot, 1, seed=5)
    text = model.encode_names(c.name for c in classes)
    right = []
    confusion = [[0] * 8 for _ in classes]
    with torch.no_grad():
        for i in range(30):
            episode = sampler[i]
            labels = torch.from_numpy(episode.labels(episode.support))
            ways = text[torch.from_numpy(episode.classes)]
            support = model.encode(store.load(episode.support), ways[labels])
            prototypes = mean_by_class(model.prototypes(support, ways[labels]), labels, 4)
            _, probabilities = model.match(model.encode(store.load(episode.query)), prototypes, ways)
            answers, asked = probabilities.argmax(-1), torch.from_numpy(episode.labels(episode.query))
            right.append(answers == asked)
            for true, answered in zip(episode.classes[asked], episode.classes[answers], strict=True):
                confusion[true][answered] += 1
    accuracy, interval = mean_interval(torch.stack(right))
    assert result.accuracy == pytest.approx(accuracy)
    assert result.interval == pytest.approx(interval)
    assert result.confusion == tuple(map(tuple, confusion))  # rows are what was shown, columns what was answered


@pytest.mark.parametrize("support", [Support("none"), Support("wrong"), Support("own", "features")])
def test_what_support_clips_are_told_and_how_shots_are_averaged(drawn_data, make_model, support):
    model = make_model(adapted_depth=1)
    classes = open_folders(drawn_data).split("val")
    store = store_for(model, classes)
    made = Evaluator(model, store, support=support).outcomes(3, 2, 4, seed=5)
    sampler = EpisodeSampler(store.sizes, 3, 2, 1, seed=5)
    names = [c.name for c in classes]
    text = model.encode_names(names[1:] + names[:1] if support.names == "wrong" else names)
    for i in range(4):
        episode = sampler[i]
        labels = torch.from_numpy(episode.labels(episode.support))
        ways = None if support.names == "none" else text[torch.from_numpy(episode.classes)]
        with torch.no_grad():
            clips = model.encode(store.load(episode.support), None if ways is None else ways[labels])
            if support.average == "features":
                prototypes = model.prototypes(mean_by_class(clips, labels, 3), ways)
            else:
                prototypes = mean_by_class(model.prototypes(clips, None if ways is None else ways[labels]), labels, 3)
            query = model.prototypes(model.encode(store.load(episode.query)))
            expected = model.metric(query, prototypes)
        assert torch.allclose(made.distances[i], expected, atol=1e-4)


def test_what_is_kept_of_episodes_answers_for_no_others(drawn_data, make_model):
    model = make_model(adapted_depth=1)
    store = store_for(model, open_folders(drawn_data).split("val"))
    kept = Evaluator(model, store)
    for asked in [(4, 1, 6, 5), (3, 1, 6, 5), (4, 2, 6, 5), (4, 1, 5, 5), (4, 1, 6, 6), (4, 1, 6, 5, 2), (4, 1, 6, 5)]:
        found, wanted = kept.outcomes(*asked), Evaluator(model, store).outcomes(*asked)
        assert torch.equal(found.distances, wanted.distances), asked
        assert torch.equal(found.scores, wanted.scores), asked
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(Evaluator, "_outcomes")
        kept.outcomes(4, 1, 6, 5)  # nothing is computed again


def test_without_names_no_text_votes(drawn_data, make_model):
    model = make_model(adapted_depth=1)
    store = store_for(model, open_folders(drawn_data).split("val"))
    result = Evaluator(model, store, support=Support("none")).evaluate(4, 1, 30, seed=5)
    assert result.fusion_weight == 0
    assert len({result.by_fusion_weight[w] for w in ("0", "0.1", "0.6")}) == 1


def test_the_interval_is_that_of_a_known_sample():
    correct = torch.tensor([[True, True], [True, False], [False, False], [True, False]])
    assert mean_interval(correct[:1])[1] == 1  # one episode says nothing
    mean, interval = mean_interval(correct)
    each = torch.tensor([1.0, 0.5, 0.0, 0.5], dtype=torch.float64)
    assert mean == pytest.approx(0.5)
    assert interval == pytest.approx(1.96 * float(each.std()) / 2)


def outcomes(own: float, other: float, spread: float = 0.1) -> Outcomes:
    """Episodes of 3 ways whose own class lies near `own` and the others near `other`."""
    torch.manual_seed(0)
    labels = torch.arange(3)
    distances = torch.full((200, 3, 3), other) + spread * torch.randn(200, 3, 3)
    distances[:, labels, labels] = own + spread * torch.randn(200, 3)
    return Outcomes(torch.zeros(200, 3, 3), distances, labels, torch.arange(3).repeat(200, 1).numpy())


def test_the_limit_lies_between_known_and_strangers():
    limit = choose_limit(outcomes(own=1.0, other=3.0), "test")
    assert 1.3 < limit.distance < 2.7
    assert "accepts 1" in limit.measured_on  # all but all of them
    hopeless = choose_limit(outcomes(own=2.0, other=2.0), "test")
    assert "accepts 1" not in hopeless.measured_on


def test_the_smallest_of_equally_good_weights_is_chosen(evaluator):
    result = evaluator.evaluate(4, 1, 10, 0)
    table = {"0": 0.5, "0.05": 0.6, "0.1": 0.6, "0.2": 0.4, "0.4": 0.1, "0.6": 0.1, "1": 0.9}
    assert choose_fusion_weight(replace(result, by_fusion_weight=table)) == 0.05


@pytest.mark.parametrize("part", ["prototype", "blocks"])
def test_a_model_that_computes_no_numbers_has_no_accuracy(drawn_data, make_model, part):
    model = make_model(adapted_depth=1)
    with torch.no_grad():
        for tensor in getattr(model, part).parameters():
            tensor.fill_(1e30)
    with pytest.raises(MaclipError) as refused:
        Evaluator(model, store_for(model, open_folders(drawn_data).split("val"))).evaluate(4, 1, 20, seed=0)
    assert refused.value.code == "answers-not-finite"
