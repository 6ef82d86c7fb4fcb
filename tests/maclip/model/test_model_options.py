"""Each option of a model changes what it says, and nothing else."""

from __future__ import annotations

import pytest
import torch
from small_clip import randomised, small_backbone
from torch import Tensor, nn
from torch.nn import functional as F

import maclip
from maclip.config import ModelConfig
from maclip.metrics import bimhm, otam
from maclip.model.losses import fuse, text_logits
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError

FRAMES = torch.randint(0, 256, (2, 8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
NAMES = ["waving", "jumping"]


def fresh(**options: object) -> MaClip:
    """A model as training begins with it."""
    backbone = small_backbone()
    torch.manual_seed(5)
    return MaClip(backbone, ModelConfig.of(**{"adapters": "blocks", "adapted_depth": 1, **options})).eval()


def features(model: MaClip, text: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model.features(FRAMES, text)


@pytest.mark.parametrize(("width", "bottleneck"), [(0.25, 8), (0.5, 16), (0.001, 1), (4, 128)])
def test_adapter_width_is_the_bottlenecks_share_of_the_tower(width, bottleneck):
    shapes = {key: value.shape for key, value in fresh(adapter_width=width).tuned_state().items()}
    for part in ("temporal", "multimodal", "joint"):
        assert shapes[f"blocks.2.{part}.down.weight"] == (bottleneck, 32)
        assert shapes[f"blocks.2.{part}.up.weight"] == (32, bottleneck)
    default = {key: value.shape for key, value in fresh().tuned_state().items()}
    assert shapes.keys() == default.keys()
    assert all(
        shapes[key] == shape for key, shape in default.items() if ".down." not in key and ".up.weight" not in key
    )


def test_joint_scale_scales_the_joint_adapter(make_model):
    plain, double = make_model(adapted_depth=1), make_model(adapted_depth=1, joint_scale=1.0)
    assert not torch.allclose(features(plain), features(double))
    with torch.no_grad():
        for parameter in double.blocks["2"].joint.up.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(features(double), features(plain))


@pytest.mark.parametrize(
    ("option", "scaled"), [("adapter_init_std", ".down.weight"), ("text_init_std", "2.text.weight")]
)
def test_initial_deviations_scale_what_they_name_alone(option, scaled):
    one, three = fresh(**{option: 0.02}).tuned_state(), fresh(**{option: 0.06}).tuned_state()
    assert torch.equal(one["temporal_embedding"], fresh().tuned_state()["temporal_embedding"])
    for key, value in one.items():
        factor = 3 if scaled in key and key.startswith("blocks.") else 1
        torch.testing.assert_close(three[key], factor * value)
    assert sum(scaled in key for key in one) == (3 if scaled == ".down.weight" else 1)
    deviations = [value.std().item() for key, value in one.items() if scaled in key and key.startswith("blocks.")]
    assert deviations == pytest.approx([0.02] * len(deviations), rel=0.2)


def test_an_adapter_that_begins_with_nothing_is_refused():
    with pytest.raises(MaclipError, match="--adapter-init-std cannot be 0"):
        ModelConfig.of(adapter_init_std=0)


class Less(nn.Module):
    """An adapter less its own input."""

    def __init__(self, adapter: nn.Module) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(x) - x


def test_without_the_inner_skip_attention_is_seen_through_the_adapter_alone(make_model):
    skipping, through = make_model(adapted_depth=2), make_model(adapted_depth=2, inner_skip=False)
    text = torch.randn(2, 16)
    assert not torch.allclose(features(skipping, text), features(through, text))
    for block in skipping.blocks.values():
        block.multimodal = Less(block.multimodal)
    torch.testing.assert_close(features(skipping, text), features(through, text))


def test_prototype_dropout_is_of_the_prototype_module_and_of_training(make_model):
    x = torch.randn(2, 8, 16)
    expected = make_model(adapted_depth=1).prototypes(x)
    for dropout in (0.0, 0.5):
        model = make_model(adapted_depth=1, prototype_dropout=dropout)
        assert torch.equal(model.prototypes(x), expected)
        model.train()
        assert torch.allclose(model.prototypes(x), expected) is (dropout == 0)


def test_softmin_lambda_is_otams(make_model):
    query, support = torch.randn(3, 8, 16), torch.randn(2, 8, 16)
    for smoothing in (0.1, 0.5, 2.0):
        assert torch.equal(make_model(softmin_lambda=smoothing).metric(query, support), otam(query, support, smoothing))
    assert not torch.allclose(make_model(softmin_lambda=0.1).metric(query, support), otam(query, support))
    other = make_model(metric="bimhm", softmin_lambda=0.1)
    assert torch.equal(other.metric(query, support), bimhm(query, support))


def test_logit_scale_is_of_the_text_match_alone(make_model):
    plain, scaled = make_model(adapted_depth=1), make_model(adapted_depth=1, logit_scale=3.0)
    assert plain.scale == pytest.approx(float(plain.clip.logit_scale.exp()))
    query, text = torch.randn(3, 8, 16), plain.encode_names(NAMES)
    prototypes = plain.prototypes(torch.randn(2, 8, 16))
    distances, probabilities = scaled.match(query, prototypes, text)
    assert torch.equal(distances, plain.match(query, prototypes, text)[0])
    torch.testing.assert_close(probabilities, fuse(text_logits(query, text, 3.0), distances, None, 0.4))
    assert not torch.allclose(probabilities, plain.match(query, prototypes, text)[1])


def test_raw_text_is_read_by_the_prototype_module_alone(make_model):
    templates = ("a photo of {}", "a {}")
    unit, raw = (make_model(adapted_depth=1, templates=templates, prototype_text=length) for length in ("unit", "raw"))
    with torch.no_grad():
        own = torch.stack(
            [raw.clip.encode_text(raw.backbone.tokenizer([t.format(name) for t in templates])) for name in NAMES]
        )  # (names, templates, D')
    text, texts = raw.encode_names(NAMES), unit.encode_names(NAMES)
    torch.testing.assert_close(text, own.mean(1))
    torch.testing.assert_close(texts, F.normalize(F.normalize(own, dim=-1).mean(1), dim=-1))
    assert not torch.allclose(text.norm(dim=-1), torch.ones(2), atol=0.05)
    # FC_text sees unit text whatever the prototype module reads.
    torch.testing.assert_close(features(raw, text), features(unit, F.normalize(text, dim=-1)))
    seen = features(unit, texts)
    with torch.no_grad():
        assert torch.equal(raw.prototypes(seen, text), unit.prototypes(seen, text))
        assert not torch.allclose(raw.prototypes(seen, text), raw.prototypes(seen, F.normalize(text, dim=-1)))
        # Cosines do not mind the length, so neither does the text match.
        for a, b in zip(raw.match(seen, seen, text), unit.match(seen, seen, F.normalize(text, dim=-1)), strict=True):
            torch.testing.assert_close(a, b)


def test_raw_text_of_names_that_were_encoded_before_the_encoder_was_freed(make_model):
    model = make_model(adapted_depth=1, prototype_text="raw")
    before = model.encode_names(NAMES)
    model.free_frozen([NAMES], stem=False)
    assert torch.equal(model.encode_names(NAMES), before)


def test_without_adapters_nothing_of_the_tower_is_tuned_and_no_depth_can_be_given():
    model = randomised(fresh(adapters="none", adapted_depth=None))
    assert all(key.startswith("prototype.") for key in model.tuned_state())
    plain = fresh(adapters="none", adapted_depth=None, prototype="none")
    assert torch.equal(features(model), features(plain))
    with pytest.raises(MaclipError, match="--adapted-depth is an option of adapters in the blocks") as caught:
        fresh(adapters="none", adapted_depth=2)
    assert caught.value.code == "option-invalid"


@pytest.mark.parametrize(
    ("kind", "option", "value", "flag", "other"),
    [
        ("ladder", "adapted_depth", 1, "--adapted-depth", "blocks"),
        ("ladder", "adapted_depth", 0, "--adapted-depth", "blocks"),
        ("ladder", "adapter_width", 0.5, "--adapter-width", "blocks"),
        ("ladder", "joint_scale", 1.0, "--joint-scale", "blocks"),
        ("ladder", "adapter_init_std", 0.1, "--adapter-init-std", "blocks"),
        ("ladder", "inner_skip", False, "--no-inner-skip", "blocks"),
        ("none", "joint_scale", 1.0, "--joint-scale", "blocks"),
        ("blocks", "ladder_width", 16, "--ladder-width", "ladder"),
        ("blocks", "ladder_temporal", (2,), "--ladder-temporal", "ladder"),
        ("none", "ladder_width", 16, "--ladder-width", "ladder"),
    ],
)
def test_an_option_of_other_adapters_is_refused_with_what_to_add(kind, option, value, flag, other):
    with pytest.raises(MaclipError, match=f"^{flag} is an option of .*, but --adapters is {kind}") as caught:
        fresh(**{"adapted_depth": None, "adapters": kind, option: value})
    assert caught.value.code == "option-invalid"
    assert caught.value.fix == f"Add --adapters {other}, or leave out {flag}."
    assert fresh(**{"adapted_depth": None, "adapters": other, option: value})


def test_one_option_says_which_tensors_are_trained():
    """What each choice tunes, by the first part of the tensors' names."""

    def tuned(**options: object) -> set[str]:
        return {key.split(".")[0] for key in fresh(**options).tuned_state()}

    assert tuned() == {"blocks", "temporal_embedding", "prototype"}
    assert tuned(prototype="none") == {"blocks", "temporal_embedding"}
    assert tuned(prototype="none", tune="all") == {"blocks", "temporal_embedding", "clip"}
    assert tuned(metric="trx") == {"blocks", "temporal_embedding", "prototype", "metric"}
    assert tuned(adapters="ladder", adapted_depth=None) == {"side", "prototype"}
    assert tuned(adapters="none", adapted_depth=None, prototype="none", tune="all") == {"clip"}


def test_names_of_which_the_encoder_reads_the_same_are_refused_by_name():
    tiny = maclip.build("tiny", "none")
    long = "stirring " * 80
    for first, second in ((f"{long} tea", f"{long} soup"), ("a" * 400 + "b", "a" * 400 + "c")):
        with pytest.raises(MaclipError) as caught:
            tiny.encode_names(["waving", first, second])
        assert caught.value.code == "names-invalid"
        assert repr(first) in caught.value.message
        assert repr(second) in caught.value.message
        assert len(tiny.encode_names(["waving", first])) == 2  # long, but told apart
    assert len(tiny.encode_names(["waving", "Waving", "wa_ving", "wa ving"])) == 4  # spellings of one name


def test_a_template_in_which_the_name_is_cut_off_is_refused():
    for templates in ((f"{'very ' * 90}{{}}",), ("a photo of {}", f"{'very ' * 90}{{}}")):
        with pytest.raises(MaclipError) as caught:
            maclip.build("tiny", "none", templates=templates).encode_names(["waving"])
        assert caught.value.code == "option-invalid"
        assert "very" in caught.value.message
    assert len(maclip.build("tiny", "none", templates=(f"{{}}{' very' * 90}",)).encode_names(["waving"])) == 1
