"""The prototype modules beside TPCM's own reference: a plain transformer, other head counts, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from maclip.config import PrototypeConfig
from maclip.prototypes import PROTOTYPES, build_prototype_module
from maclip_runtime.errors import MaclipError

FEATURES, TEXT = torch.randn(3, 4, 16), torch.randn(3, 16)


def built(**options: object) -> nn.Module:
    torch.manual_seed(0)
    module = build_prototype_module(PrototypeConfig.of(**options), 16)
    assert module is not None
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.eval()


@torch.no_grad()
def test_a_plain_transformer_is_the_query_branch_whatever_text_there_is():
    module, tpcm = built(prototype="transformer"), built(prototype="tpcm")
    has_text = torch.tensor([True, False, True])
    for text, flags in ((None, None), (TEXT, None), (TEXT, has_text)):
        assert torch.equal(module(FEATURES, text, flags), tpcm(FEATURES))
    assert not torch.allclose(tpcm(FEATURES, TEXT), tpcm(FEATURES))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["tpcm", "transformer", "clip-fsar"])
def test_heads_share_out_the_width(kind):
    few, many = built(prototype=kind, prototype_heads=2), built(prototype=kind, prototype_heads=8)
    assert all(torch.equal(value, many.state_dict()[key]) for key, value in few.state_dict().items())
    assert not torch.allclose(few(FEATURES), many(FEATURES))
    normed = few.norm_attention(FEATURES)
    mixed, _ = few.attention(normed, normed, normed)  # torch's own, of two heads
    x = FEATURES + mixed
    torch.testing.assert_close(few(FEATURES), x + few.ffn(few.norm_ffn(x)))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(MaclipError, match="3 attention heads") as caught:
        built(prototype_heads=3)
    assert caught.value.code == "option-invalid"
    assert "--prototype-heads" in caught.value.fix


def test_none_is_no_module_and_unknown_ones_name_the_known():
    assert build_prototype_module(PrototypeConfig.of(prototype="none"), 16) is None
    with pytest.raises(MaclipError, match="best") as caught:
        built(prototype="best")
    assert caught.value.code == "prototype-module-unknown"
    assert all(name in caught.value.fix for name in PROTOTYPES)
