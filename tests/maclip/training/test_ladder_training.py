"""A ladder is trained like the adapted blocks: on cached tokens, in any precision, with any interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_distributed import SHORT, run_child
from test_resume import assert_same
from test_trainer import CPU, MODEL, Silent, one_episode, small, train

import maclip
from maclip.runs import Run
from maclip.training import api

__all__ = ["small"]  # the fixture that gives every test here the small backbone

OPTIONS = {"adapters": "ladder", "adapted_depth": None}
LADDER = MODEL.changed(**OPTIONS)


def test_mixed_precision_learns_nearly_the_same_and_keeps_float32_weights(make_model):
    losses: dict[str, list[float]] = {}
    for precision in ("32", "bf16"):
        model = make_model(**OPTIONS)
        optimizer, batch = one_episode(model, precision=precision)
        batch = replace(batch, clips=torch.randn(8, 8, *model.side.frozen_shape))
        kinds = set()
        model.side.layers[1].mlp[0].register_forward_hook(lambda module, given, out, kinds=kinds: kinds.add(out.dtype))
        losses[precision] = []
        for _ in range(30):
            losses[precision].append(optimizer.accumulate(batch)[0])
            optimizer.update(range(1), 3e-3)
        assert kinds == {torch.float32 if precision == "32" else torch.bfloat16}
        assert {value.dtype for value in model.tuned_state().values()} == {torch.float32}
    assert losses["bf16"][0] == pytest.approx(losses["32"][0], rel=0.05)
    assert losses["bf16"][-1] < 0.7 * losses["bf16"][0]


def test_an_interrupted_training_ends_as_if_it_had_not_been(drawn_data: Path, tmp_path: Path) -> None:
    short = {"prototype_episodes": 0, "validations": 2}
    train(drawn_data, tmp_path / "whole", model=LADDER, **short)
    with pytest.raises(KeyboardInterrupt):
        train(drawn_data, tmp_path / "cut", Silent(3), model=LADDER, **short)
    api.resume(tmp_path / "cut", callbacks=Silent(), machine=CPU)
    assert_same(tmp_path / "cut", tmp_path / "whole")
    Run.open(tmp_path / "cut").require_trained_adapters()
    assert maclip.load(tmp_path / "cut").side.up.weight.any()


def test_two_processes_learn_what_one_learns(drawn_data: Path, tmp_path: Path) -> None:
    run_child(drawn_data, tmp_path, {"run": "two", "changes": SHORT, "machine": {"devices": 2}, "model": OPTIONS})
    train(drawn_data, tmp_path / "one", model=LADDER, **SHORT)
    one, other = (load_file(tmp_path / run / "state" / "last.safetensors") for run in ("one", "two"))
    assert one.keys() == other.keys()
    assert any("side." in key for key in one)
    for key, value in one.items():
        pair = [other[key], value]
        if key.endswith("in_proj_bias"):  # as in test_distributed: the keys' gradient is rounding alone
            pair = [bias.unflatten(0, (3, -1))[[0, 2]] for bias in pair]
        torch.testing.assert_close(*pair, rtol=1e-4, atol=2e-6)
