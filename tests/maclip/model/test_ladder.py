"""The ladder beside a frozen tower: what it starts as, what it reads, and what training reaches."""

from __future__ import annotations

import pytest
import torch
from small_clip import small_backbone

from maclip.config import ModelConfig
from maclip.model.losses import mean_by_class
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError

LADDER = {"adapters": "ladder", "prototype": "none"}


def pixels(clips: int, frames: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (clips, frames, 32, 32, 3), dtype=torch.uint8, generator=generator)


def untrained(**options: object) -> MaClip:
    return MaClip(small_backbone(), ModelConfig.of(**{**LADDER, **options})).eval()


@pytest.mark.parametrize("temporal", [(), (1,), (1, 2, 3)])
def test_untrained_it_is_frozen_clip_exactly(temporal):
    frames, text = pixels(2), torch.randn(2, 16)
    ladder = untrained(ladder_temporal=temporal)
    frozen = MaClip(small_backbone(), ModelConfig.of(adapters="none", prototype="none")).eval()
    with torch.no_grad():
        expected = frozen.features(frames)
        assert torch.equal(ladder.features(frames), expected)
        assert torch.equal(ladder.features(frames, text), expected)
        ladder.side.up.weight.normal_()
        assert not torch.allclose(ladder.features(frames), expected)


def test_cached_tokens_give_the_features_of_the_frames(make_model):
    model, frames, text = make_model(**LADDER).double(), pixels(2), torch.randn(2, 16).double()
    with torch.no_grad():
        cached = model.frozen_stem().encode(frames.flatten(0, 1)).unflatten(0, (2, 8))
        assert cached.shape[2:] == model.frozen_stem().shape
        torch.testing.assert_close(model.encode(cached, text), model.features(frames, text))


def test_the_stem_sees_single_frames_alone(make_model):
    model, frames = make_model(**LADDER).double(), pixels(1)[0]
    with torch.no_grad():
        whole = model.stem(frames)
        assert whole.shape[1:] == model.stem_shape
        torch.testing.assert_close(torch.cat([model.stem(one[None]) for one in frames]), whole)


def test_one_pass_serves_clips_with_and_without_text(make_model):
    model = make_model(**LADDER).double()
    frames, text = pixels(2), torch.randn(2, 16, dtype=torch.float64)
    with torch.no_grad():
        mixed = model.features(frames, text, torch.tensor([True, False]))
        torch.testing.assert_close(mixed[0], model.features(frames[:1], text[:1])[0])
        torch.testing.assert_close(mixed[1], model.features(frames[1:])[0])
        assert not torch.allclose(mixed[0], model.features(frames[:1])[0])
        without = make_model(**LADDER, text_token=False)
        assert torch.equal(without.features(frames, text.float()), without.features(frames))


def test_gradient_reaches_every_tuned_parameter_and_no_frozen_one(make_model):
    model = make_model(**LADDER).train()
    frames, text, labels = pixels(4), torch.randn(2, 16), torch.tensor([0, 1])
    support, query = model.features(frames[:2], text), model.features(frames[2:])
    distances, _ = model.match(query, mean_by_class(support, labels, 2), text)
    torch.nn.functional.cross_entropy(-distances, labels).backward()
    tuned = {id(parameter) for parameter in model.tuned_parameters()}
    assert len(tuned) == len(model.tuned_state())
    for name, parameter in model.named_parameters():
        if id(parameter) in tuned:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert name.startswith("clip."), name
            assert parameter.grad is None, name


def test_checkpointing_changes_no_gradient(make_model):
    found = []
    for checkpointing in (False, True):
        model = make_model(**LADDER).train()
        model.checkpointing = checkpointing
        model.features(pixels(2), torch.randn(2, 16, generator=torch.Generator().manual_seed(1))).sum().backward()
        found.append([parameter.grad for parameter in model.tuned_parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ladder_width": 30}, "width 30 cannot be divided among 4"),
        ({"ladder_width": 331}, "width 331 cannot be divided among 5"),
        ({"ladder_temporal": (4,)}, "--ladder-temporal 4 is not a layer of 3"),
        ({"ladder_temporal": (0, 2)}, "--ladder-temporal 0 is not a layer of 3"),
        ({"adapted_depth": 1}, "--adapted-depth 1 needs adapters in the blocks"),
        ({"ladder_width": 2}, "--ladder-width cannot be 2"),
    ],
)
def test_what_no_ladder_can_be_is_refused(options, message):
    with pytest.raises(MaclipError, match=message) as caught:
        untrained(**options)
    assert caught.value.code == "option-invalid"
