"""CLIP-FSAR's module against one transformer layer of torch's own."""

from __future__ import annotations

import torch
from torch import nn

from maclip.config import PrototypeConfig
from maclip.prototypes.clip_fsar import ClipFsar


def layer_of(module: ClipFsar, width: int) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(width, 8, 4 * width, activation="gelu", batch_first=True, norm_first=True)
    own = module.state_dict()
    layer.load_state_dict(
        {
            **{key.replace("attention.", "self_attn.", 1): own[key] for key in own if key.startswith("attention.")},
            "norm1.weight": own["norm_attention.weight"],
            "norm1.bias": own["norm_attention.bias"],
            "norm2.weight": own["norm_ffn.weight"],
            "norm2.bias": own["norm_ffn.bias"],
            "linear1.weight": own["ffn.0.weight"],
            "linear1.bias": own["ffn.0.bias"],
            "linear2.weight": own["ffn.2.weight"],
            "linear2.bias": own["ffn.2.bias"],
        }
    )
    return layer.eval()


@torch.no_grad()
def test_support_and_query_pass_one_transformer_layer() -> None:
    torch.manual_seed(0)
    module = ClipFsar(16, PrototypeConfig()).eval()
    layer = layer_of(module, 16)
    features, text = torch.randn(3, 4, 16), torch.randn(3, 16)
    torch.testing.assert_close(module(features), layer(features))
    with_text = layer(torch.cat([text[:, None], features], 1))[:, 1:]
    torch.testing.assert_close(module(features, text), with_text)
    has_text = torch.tensor([True, False, True])
    mixed = module(features, text, has_text)
    torch.testing.assert_close(mixed[[0, 2]], with_text[[0, 2]])
    torch.testing.assert_close(mixed[1], layer(features)[1])
