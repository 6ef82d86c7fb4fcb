"""Gradients and updates: by hand, in other precisions, and with blocks computed again instead of kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_trainer import one_episode, small, train

from maclip.model.maclip import MaClip
from maclip.training.optimizer import Optimizer

__all__ = ["small"]  # the fixture that gives every test here the small backbone


def gradients(model: MaClip) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def kept_bytes(model: MaClip) -> int:
    """What a forward pass keeps for the gradients."""
    optimizer, batch = one_episode(model)
    kept: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        optimizer.step(model, batch)
    return sum(kept)


@pytest.mark.parametrize("choices", [{"adapted_depth": 3}, {"adapted_depth": 0, "tune": "all"}])
def test_checkpointing_gives_the_same_gradients_for_less_memory(make_model, choices):
    found, kept = [], []
    for checkpointing in (False, True):
        model = make_model(**choices)
        model.checkpointing = checkpointing
        optimizer, batch = one_episode(model)
        if choices["adapted_depth"] == 0:  # from pixels, so that the stem's blocks are trained too
            batch = replace(batch, clips=torch.randint(0, 255, (8, 8, 32, 32, 3)).byte())
        optimizer.accumulate(batch)
        found.append(gradients(model))
        kept.append(kept_bytes(model))
    plain, again = found
    assert plain.keys() == again.keys()
    assert len(plain) > 10
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    assert kept[1] < (0.5 if choices["adapted_depth"] == 3 else 1.0) * kept[0]


def test_mixed_precision_learns_nearly_the_same_and_keeps_float32_weights(make_model):
    losses = {}
    for precision in ("32", "bf16"):
        model = make_model(adapted_depth=1)
        optimizer, batch = one_episode(model, precision=precision)
        kinds = set()
        model.blocks["2"].joint.down.register_forward_hook(lambda module, given, out, kinds=kinds: kinds.add(out.dtype))
        losses[precision] = []
        for _ in range(30):
            losses[precision].append(optimizer.accumulate(batch)[0])
            assert {value.dtype for value in gradients(model).values()} == {torch.float32}
            optimizer.update(range(1), 3e-3)
        assert kinds == {torch.float32 if precision == "32" else torch.bfloat16}
        assert {value.dtype for value in model.tuned_state().values()} == {torch.float32}
    assert losses["bf16"][0] == pytest.approx(losses["32"][0], rel=0.05)
    assert losses["bf16"][0] != losses["32"][0]
    assert losses["bf16"][-1] < 0.7 * losses["bf16"][0]


def test_episodes_of_an_update_count_by_their_mean(make_model):
    def learnt(accumulate: int, *episodes: int) -> dict[str, torch.Tensor]:
        model = make_model(adapted_depth=1)
        optimizer, batch = one_episode(model, accumulate=accumulate)
        for at in episodes:  # clips in another order are another episode
            optimizer.accumulate(replace(batch, seed=at, clips=batch.clips.roll(at, 0)))
        return gradients(model)

    first, second, both = learnt(1, 0), learnt(1, 1), learnt(2, 0, 1)
    assert any(not torch.allclose(first[name], second[name]) for name in both)
    for name, value in both.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)


def with_gradients(model: MaClip, norm: float, **choices: object) -> Optimizer:
    """An optimizer of `model`, whose gradients together have the length `norm`."""
    optimizer, _ = one_episode(model, **choices)
    torch.manual_seed(1)
    whole = torch.randn(sum(p.numel() for p in optimizer.parameters))
    parts = (norm * whole / whole.norm()).split([p.numel() for p in optimizer.parameters])
    for parameter, part in zip(optimizer.parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return optimizer


@pytest.mark.parametrize(("norm", "clip", "used"), [(50.0, 1.0, 1.0), (0.5, 1.0, 0.5), (50.0, 4.0, 4.0)])
def test_only_gradients_beyond_the_clip_are_shortened(make_model, norm, clip, used):
    optimizer = with_gradients(make_model(adapted_depth=1), norm, gradient_clip=clip)
    optimizer.update(range(1), 1e-3)
    # Adam's step hides how long a gradient was; its first moment is a tenth of it.
    moments = torch.cat([optimizer.optimizer.state[p]["exp_avg"].flatten() for p in optimizer.parameters])
    assert moments.norm().item() == pytest.approx(0.1 * used, rel=1e-4)


def test_weights_that_no_gradient_holds_decay_by_rate_and_decay(make_model):
    optimizer = with_gradients(make_model(adapted_depth=1), 0.0, weight_decay=0.2)
    before = [parameter.detach().clone() for parameter in optimizer.parameters]
    optimizer.update(range(1), 0.5)
    for parameter, value in zip(optimizer.parameters, before, strict=True):
        torch.testing.assert_close(parameter.detach(), 0.9 * value)


def test_each_part_of_training_has_its_own_learning_rate(drawn_data, tmp_path):
    rates = {"learning_rate": 1e-3, "prototype_learning_rate": 4e-3, "warmup": 0.0}
    short = {"episodes": 4, "prototype_episodes": 4, "accumulate": 2, "views": 1, "validations": 1}
    steps = train(drawn_data, tmp_path / "run", **short, **rates).steps
    # The middle of the first of two updates under a cosine.
    assert [(step.stage, step.learning_rate) for step in steps[::2]] == [
        ("prototype", pytest.approx(3.414e-3, rel=1e-3)),
        ("joint", pytest.approx(0.8536e-3, rel=1e-3)),
    ]
