"""Full fine-tuning as a baseline, and a training that ends when validation no longer rises."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_clip import small_backbone
from test_trainer import CPU, MODEL, TRAIN, Silent, small, train

import maclip
from maclip.config import ModelConfig
from maclip.evaluation.evaluator import Evaluator
from maclip.model.maclip import MaClip
from maclip.training import api
from maclip_runtime.errors import MaclipError

__all__ = ["small"]  # the fixture that gives every test here the small backbone

WHOLE = ModelConfig.of(adapters="none", prototype="none", tune="all")


def test_all_of_the_visual_encoder_is_trained_kept_and_loaded(drawn_data, tmp_path):
    train(drawn_data, tmp_path / "run", model=WHOLE, prototype_episodes=0)
    state = load_file(tmp_path / "run" / "adapters.safetensors")
    before = small_backbone().clip.state_dict()
    assert {f"clip.{key}" for key in before if key.startswith("visual.")} == set(state)
    changed = [key for key, value in state.items() if not torch.equal(value, before[key.removeprefix("clip.")])]
    assert {"clip.visual.conv1.weight", "clip.visual.proj"} <= set(changed)
    model = maclip.load(tmp_path / "run")
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    for key, value in model.clip.state_dict().items():
        if not key.startswith("visual."):
            assert torch.equal(value, before[key])  # the text encoder stays as it is


def test_with_adapters_clip_stays_frozen_even_after_another_was_tuned(drawn_data, tmp_path):
    backbone = small_backbone()
    assert MaClip(backbone, WHOLE).clip.visual.proj.requires_grad
    model = MaClip(backbone, MODEL)
    assert not any(parameter.requires_grad for parameter in model.clip.parameters())
    assert not any(key.startswith("clip.") for key in model.tuned_state())


def test_a_stem_that_is_tuned_is_not_cached(drawn_data, tmp_path):
    with pytest.raises(MaclipError) as refused:
        train(drawn_data, tmp_path / "run", model=WHOLE, prototype_episodes=0, cache="stem")
    assert refused.value.code == "option-invalid"
    with pytest.raises(MaclipError, match="--tune cannot be 'some'"):
        WHOLE.changed(tune="some")


@pytest.fixture
def falling(monkeypatch):
    """Validation that is best at the second try of the joint part."""
    scores = iter([0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4])
    evaluate = Evaluator.evaluate

    def scripted(self, *args: object, **kwargs: object):
        result = evaluate(self, *args, **kwargs)
        score = next(scores, 0.0)
        return replace(result, by_fusion_weight=dict.fromkeys(result.by_fusion_weight, score))

    monkeypatch.setattr(Evaluator, "evaluate", scripted)


def validated(run) -> list[int]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["episode"] for row in rows if "validation" in row]


LONG = {"prototype_episodes": 0, "episodes": 24, "validations": 6, "schedule": "constant"}


def test_a_training_ends_when_validation_no_longer_rises(drawn_data, tmp_path, falling):
    train(drawn_data, tmp_path / "run", patience=2, **LONG)
    assert validated(tmp_path / "run") == [4, 8, 12, 16]  # the best at 8, then two that are no better


def test_what_was_reached_before_the_joint_part_does_not_end_it(drawn_data, tmp_path, monkeypatch):
    scores = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    evaluate = Evaluator.evaluate

    def scripted(self, *args: object, **kwargs: object):
        result = evaluate(self, *args, **kwargs)
        return replace(result, by_fusion_weight=dict.fromkeys(result.by_fusion_weight, next(scores, 0.0)))

    monkeypatch.setattr(Evaluator, "evaluate", scripted)
    train(drawn_data, tmp_path / "run", patience=1, **{**LONG, "prototype_episodes": 24})
    assert validated(tmp_path / "run") == [4, 8, 12, 16, 20, 24] * 2


def test_patience_counts_on_after_an_interruption(drawn_data, tmp_path, falling):
    with pytest.raises(KeyboardInterrupt):
        train(drawn_data, tmp_path / "run", Silent(stop_after=7), patience=2, **LONG)
    api.resume(tmp_path / "run", callbacks=Silent(), machine=CPU)
    assert validated(tmp_path / "run") == [4, 8, 12, 16]


def test_a_constant_rate_stays_after_its_warm_up(drawn_data, tmp_path):
    rates = [step.learning_rate for step in train(drawn_data, tmp_path / "run", **LONG).steps]
    assert 0 < rates[0] < TRAIN.optimizer.learning_rate  # one of twelve updates: its middle lies in the first 5 %
    assert rates[1:] == [TRAIN.optimizer.learning_rate] * 11
