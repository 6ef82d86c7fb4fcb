"""The step of training in other precisions, and with blocks computed again instead of kept."""

from __future__ import annotations

import pytest
import torch
from test_training import one_episode

from maclip.model import MaClip


def gradients(model: MaClip) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def kept_bytes(model: MaClip) -> int:
    """What a forward pass keeps for the gradients."""
    pupil, drawn = one_episode(model)
    kept: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pupil._loss(drawn, None)
    return sum(kept)


@pytest.mark.parametrize("choices", [{"adapted_depth": 3}, {"adapted_depth": 0, "tuned": "all"}])
def test_checkpointing_gives_the_same_gradients_for_less_memory(make_model, choices):
    found, kept = [], []
    for checkpointing in (False, True):
        model = make_model(**choices)
        model.checkpointing = checkpointing
        pupil, drawn = one_episode(model)
        if choices["adapted_depth"] == 0:  # from pixels, so that the stem's blocks are trained too
            drawn = type(drawn)(0, drawn.episode, 0, torch.randint(0, 255, (8, 8, 32, 32, 3)).byte())
        pupil.learn(drawn)
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
        pupil, drawn = one_episode(model, precision=precision)
        kinds = set()
        model.blocks["2"].joint.down.register_forward_hook(lambda module, given, out, kinds=kinds: kinds.add(out.dtype))
        losses[precision] = []
        for _ in range(30):
            losses[precision].append(pupil.learn(drawn)[0])
            assert {value.dtype for value in gradients(model).values()} == {torch.float32}
            pupil.update(range(1), 3e-3)
        assert kinds == {torch.float32 if precision == "32" else torch.bfloat16}
        assert {value.dtype for value in model.tuned_state().values()} == {torch.float32}
    assert losses["bf16"][0] == pytest.approx(losses["32"][0], rel=0.05)
    assert losses["bf16"][0] != losses["32"][0]
    assert losses["bf16"][-1] < 0.7 * losses["bf16"][0]
