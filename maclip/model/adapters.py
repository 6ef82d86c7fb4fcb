"""The adapted block: three light adapters and a text token around one frozen block of CLIP (method.md section 2).

The frozen block is handed to each call, so that its weights live once, in `model.clip`, and this module's state holds
only what is trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maclip.backbones.image_towers import FrozenBlock
from maclip.layers import HIDDEN_BIAS, attend, text_key_bias

__all__ = ["HIDDEN_BIAS", "Adapter", "BlockAdapters", "attend", "plain_block", "text_key_bias"]

JOINT_SCALE = 0.5  # s of method.md section 2, step 5
TEXT_INIT_STD = 0.02
DOWN_INIT_STD = 0.02


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


def plain_block(block: FrozenBlock, x: Tensor, keep: int | None = None) -> Tensor:
    """A frozen CLIP block on tokens [B, L, D]; only the first `keep` rows are computed and returned."""
    context = block.norm_1(x)
    x = x[:, :keep] + block.attention(context[:, :keep], context)
    return x + block.mlp(block.norm_2(x))


class BlockAdapters(nn.Module):
    """The trained part of one adapted block: temporal, multimodal and joint adapters, and FC_text.

    `mean_from`: which tokens stand for a frame over time. None is the first, the class token; for a tower that makes
    no use of one it is the mean of the tokens from this one on (`FrozenTower.mean_from`).
    """

    def __init__(self, width: int, text_width: int, mean_from: int | None = None) -> None:
        super().__init__()
        self.mean_from = mean_from
        self.temporal = Adapter(width)
        self.multimodal = Adapter(width)
        self.joint = Adapter(width)
        self.text = nn.Linear(text_width, width)
        nn.init.normal_(self.text.weight, std=TEXT_INIT_STD)
        nn.init.zeros_(self.text.bias)

    def forward(
        self,
        block: FrozenBlock,
        x: Tensor,
        text: Tensor | None = None,
        has_text: Tensor | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """Tokens [B, T, N+1, D], any class token first, through the frozen `block` with these adapters.

        `text` [B, D'] adds the text token (the support branch); None is the query branch. `has_text` bool
        [B] hides that token for single clips of the batch. The first `keep` rows of each frame are returned
        (all by default): the rows of method.md's step 4 that are dropped serve as keys and values only.
        """
        clips, frames = x.shape[:2]
        normed = block.norm_1(x)
        if self.mean_from is None:
            frame, frame_normed = x[:, :, 0], normed[:, :, 0]  # (B, T, D)
        else:
            frame = x[:, :, self.mean_from :].mean(2)
            frame_normed = block.norm_1(frame)
        moved = frame + self.temporal(block.attention(frame_normed, frame_normed))  # (B, T, D)
        context = [normed, block.norm_1(moved).unsqueeze(2)]
        if text is not None:
            token = block.norm_1(self.text(text))[:, None, None]  # (B, 1, 1, D)
            context.append(token.expand(-1, frames, -1, -1))
        z = torch.cat(context, dim=2).flatten(0, 1)  # (B*T, N+2 or N+3, D)
        bias = None
        if text is not None and has_text is not None:
            bias = text_key_bias(has_text, z.shape[1], z.dtype)  # (B, N+3)
            bias = bias.repeat_interleave(frames, dim=0)[:, None, None]  # (B*T, 1, 1, N+3)
        seen = block.attention(normed[:, :, :keep].flatten(0, 1), z, bias)
        x = x[:, :, :keep] + (seen + self.multimodal(seen)).unflatten(0, (clips, frames))
        hidden = block.norm_2(x)
        out: Tensor = x + block.mlp(hidden) + JOINT_SCALE * self.joint(hidden)
        return out
