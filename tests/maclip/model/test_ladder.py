"""The ladder beside a frozen tower: what it starts as, what it reads, and what training reaches."""

from __future__ import annotations

import pytest
import reference
import torch
from small_clip import small_backbone
from small_towers import STANDS, small_backbone_of

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


@pytest.mark.parametrize("temporal", [(2, 3), (1, 3), (2,)])
@pytest.mark.parametrize("named", [True, False])
def test_features_agree_with_the_literal_reference(make_model, temporal, named):
    model = make_model(**LADDER, ladder_temporal=temporal).double()
    frames = pixels(2)
    text = torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) if named else None
    with torch.no_grad():
        features = model.features(frames, text)
        streamed = model.tower(model.stem(frames.flatten(0, 1)).unflatten(0, (2, 8)), text)
    for b in range(2):
        expected = reference.ladder_features(
            model.state_dict(), frames[b], model.pixel_mean, model.pixel_std,
            None if text is None else text[b], layers=3, heads=4, side_heads=4, temporal=temporal,
        )  # fmt: skip
        torch.testing.assert_close(features[b], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(streamed, features, rtol=0, atol=2e-3 * float(features.abs().max()))


@pytest.mark.parametrize("kind", sorted(STANDS))
def test_beside_every_kind_of_tower_it_starts_as_that_tower(kind):
    model = MaClip(small_backbone_of(kind), ModelConfig.of(**LADDER)).eval().double()
    frozen = MaClip(small_backbone_of(kind), ModelConfig.of(adapters="none", prototype="none")).eval().double()
    frames = pixels(1)
    with torch.no_grad():
        expected = frozen.features(frames)
        torch.testing.assert_close(model.features(frames), expected, rtol=1e-9, atol=1e-9)
        streamed = model.tower(model.stem(frames[0])[None])
        torch.testing.assert_close(streamed, expected, rtol=1e-6, atol=1e-6)
        model.side.up.weight.normal_()
        cached = model.encode(model.frozen_stem().encode(frames[0])[None])
        torch.testing.assert_close(cached, model.features(frames))
        assert not torch.allclose(cached, expected)


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
        assert whole.dtype == torch.half
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
        ({"adapted_depth": 1}, "--adapted-depth is an option of adapters in the blocks"),
        ({"ladder_width": 2}, "--ladder-width cannot be 2"),
    ],
)
def test_what_no_ladder_can_be_is_refused(options, message):
    with pytest.raises(MaclipError, match=message) as caught:
        untrained(**options)
    assert caught.value.code == "option-invalid"
