"""The adapted block: three light adapters and a text token around one frozen block of CLIP (method.md section 2).

The frozen block is open_clip's own and is handed to each call, so that its weights live once, in
`model.clip`, and this module's state holds only what is trained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

JOINT_SCALE = 0.5  # s of method.md section 2, step 5
TEXT_INIT_STD = 0.02
DOWN_INIT_STD = 0.02
# Added to the attention score of a key that must not be seen: exp of it is 0 in float32 and in float16.
HIDDEN_BIAS = -1e4


class Adapter(nn.Module):
    """FC_up(GELU(FC_down(x))), [..., D] -> [..., D], zero at initialisation (method.md section 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // 4)
        self.up = nn.Linear(width // 4, width)
        nn.init.trunc_normal_(self.down.weight, std=DOWN_INIT_STD)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt the last axis."""
        out: Tensor = self.up(F.gelu(self.down(x)))
        return out


def attend(attention: nn.MultiheadAttention, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention with `attention`'s weights: query [B, Q, D], context [B, K, D] -> [B, Q, D].

    `bias` is added to the scores, broadcast to [B, heads, Q, K]. Keys and values are projected for the whole
    context but queries only for the rows that are kept, which `nn.MultiheadAttention` cannot do in one
    projection.
    """
    width, heads = attention.embed_dim, attention.num_heads
    weight, offset = attention.in_proj_weight, attention.in_proj_bias
    q = F.linear(query, weight[:width], None if offset is None else offset[:width])
    kv = F.linear(context, weight[width:], None if offset is None else offset[width:])
    q = q.unflatten(-1, (heads, width // heads)).transpose(1, 2)  # (B, heads, Q, d)
    k, v = kv.unflatten(-1, (2, heads, width // heads)).permute(2, 0, 3, 1, 4).unbind(0)  # 2 x (B, heads, K, d)
    dropout = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    out: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return out


def plain_block(block: Any, x: Tensor, keep: int | None = None) -> Tensor:
    """A frozen CLIP block on tokens [B, L, D]; only the first `keep` rows are computed and returned."""
    context = block.ln_1(x)
    x = x[:, :keep] + block.ls_1(attend(block.attn, context[:, :keep], context))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


class BlockAdapters(nn.Module):
    """The trained part of one adapted block: temporal, multimodal and joint adapters, and FC_text."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.temporal = Adapter(width)
        self.multimodal = Adapter(width)
        self.joint = Adapter(width)
        self.text = nn.Linear(text_width, width)
        nn.init.normal_(self.text.weight, std=TEXT_INIT_STD)
        nn.init.zeros_(self.text.bias)

    def forward(
        self,
        block: Any,
        x: Tensor,
        text: Tensor | None = None,
        has_text: Tensor | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """Tokens [B, T, N+1, D], class token first, through the frozen `block` with these adapters.

        `text` [B, D'] adds the text token (the support branch); None is the query branch. `has_text` bool
        [B] hides that token for single clips of the batch. The first `keep` rows of each frame are returned
        (all by default): the rows of method.md's step 4 that are dropped serve as keys and values only.
        """
        clips, frames = x.shape[:2]
        normed = block.ln_1(x)
        classes = normed[:, :, 0]  # (B, T, D)
        moved = x[:, :, 0] + self.temporal(block.ls_1(attend(block.attn, classes, classes)))  # (B, T, D)
        context = [normed, block.ln_1(moved).unsqueeze(2)]
        if text is not None:
            token = block.ln_1(self.text(text))[:, None, None]  # (B, 1, 1, D)
            context.append(token.expand(-1, frames, -1, -1))
        z = torch.cat(context, dim=2).flatten(0, 1)  # (B*T, N+2 or N+3, D)
        bias = None
        if text is not None and has_text is not None:
            bias = text_key_bias(has_text, z.shape[1], z.dtype)  # (B, N+3)
            bias = bias.repeat_interleave(frames, dim=0)[:, None, None]  # (B*T, 1, 1, N+3)
        seen = block.ls_1(attend(block.attn, normed[:, :, :keep].flatten(0, 1), z, bias))
        x = x[:, :, :keep] + (seen + self.multimodal(seen)).unflatten(0, (clips, frames))
        hidden = block.ln_2(x)
        out: Tensor = x + block.ls_2(block.mlp(hidden)) + JOINT_SCALE * self.joint(hidden)
        return out


def text_key_bias(has_text: Tensor, keys: int, dtype: torch.dtype, at: int = -1) -> Tensor:
    """Additive attention bias [B, keys]: `HIDDEN_BIAS` on key `at` of the clips whose `has_text` [B] is False."""
    bias = torch.zeros(keys, dtype=dtype, device=has_text.device)
    bias[at] = HIDDEN_BIAS
    return (~has_text).to(dtype)[:, None] * bias
