"""The learning rate of each update: every update learns, the first and the last too."""

from __future__ import annotations

import itertools

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import small, train

from maclip.config import OptimizerConfig
from maclip.training.schedule import learning_rate, updates

__all__ = ["small"]  # the fixture that gives every test here the small backbone


def rates(stage: str, episodes: int, accumulate: int, **options: object) -> list[float]:
    config = OptimizerConfig.of(**options)
    return [learning_rate(stage, update, episodes, 1.0, config) for update in updates(0, episodes, accumulate)]


@pytest.mark.parametrize(
    ("stage", "episodes", "accumulate", "warmup"),
    itertools.product(("prototype", "joint"), (1, 16, 17, 1000), (1, 16, 5000), (0.0, 0.05, 1.0)),
)
def test_every_update_learns(stage, episodes, accumulate, warmup):
    for schedule in ("cosine", "constant"):
        found = rates(stage, episodes, accumulate, warmup=warmup, schedule=schedule)
        assert all(0 < rate <= 1 for rate in found)


def test_the_rate_rises_and_falls():
    found = rates("joint", 100, 10, warmup=0.1)
    assert found[0] == 0.5
    assert found[1:] == sorted(found[1:], reverse=True)
    assert found[1] == pytest.approx(1, abs=0.01)
    assert found[-1] == pytest.approx(0, abs=0.01)


def test_a_constant_rate_is_of_the_joint_part_alone():
    options = {"schedule": "constant", "warmup": 0.1}
    assert rates("joint", 100, 10, **options) == [0.5] + [1.0] * 9
    assert rates("prototype", 100, 10, **options)[-1] == pytest.approx(0, abs=0.01)


def test_a_training_of_one_update_changes_what_it_tunes(drawn_data, tmp_path):
    nothing = {"episodes": 0, "prototype_episodes": 0}
    train(drawn_data, tmp_path / "before", **nothing)
    train(drawn_data, tmp_path / "after", **{**nothing, "episodes": 4, "accumulate": 16})
    before, after = (load_file(tmp_path / run / "adapters.safetensors") for run in ("before", "after"))
    assert not any(torch.equal(value, after[key]) for key, value in before.items() if "blocks" in key and "up" in key)
    assert any(not torch.equal(value, after[key]) for key, value in before.items())
