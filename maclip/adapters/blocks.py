"""The paper's adapted block: three light adapters and a text token around one frozen block (docs/method.md, section 2).

The frozen block is an argument of each call: its weights stay in `model.clip`, and the state dict of this module holds
only trained tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maclip.adapters.registry import adapter
from maclip.backbones.image_towers import FrozenBlock, FrozenTower
from maclip.config import AdapterConfig
from maclip.layers import text_key_bias


class Adapter(nn.Module):
    """FC_up(GELU(FC_down(x))), [..., D] -> [..., D]. Its output is zero at initialisation.

    width: D.
    bottleneck: width between the two layers.
    init_std: standard deviation of the initial weights of FC_down.
    """

    def __init__(self, width: int, bottleneck: int, init_std: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.trunc_normal_(self.down.weight, std=init_std)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.up(F.gelu(self.down(x)))
        return out


@adapter("blocks")
class BlockAdapters(nn.Module):
    """The trained part of one adapted block: temporal, multimodal and joint adapters, and FC_text.

    In temporal attention a frame is represented by its class token, or by the mean of its patches if the tower does not
    use a class token (`FrozenTower.mean_from`).
    """

    def __init__(self, tower: FrozenTower, config: AdapterConfig) -> None:
        super().__init__()
        width, bottleneck = tower.width, max(1, int(tower.width * config.width))
        self.mean_from = tower.mean_from
        self.joint_scale, self.inner_skip = config.joint_scale, config.inner_skip
        self.temporal = Adapter(width, bottleneck, config.init_std)
        self.multimodal = Adapter(width, bottleneck, config.init_std)
        self.joint = Adapter(width, bottleneck, config.init_std)
        self.text = nn.Linear(tower.feature_width, width)
        nn.init.normal_(self.text.weight, std=config.text_init_std)
        nn.init.zeros_(self.text.bias)
        # Without a text token FC_text is not used, so it must not be trained.
        self.text.requires_grad_(config.text_token)

    def forward(
        self,
        block: FrozenBlock,
        x: Tensor,
        text: Tensor | None = None,
        has_text: Tensor | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """Tokens [B, T, N+1, D] through the frozen `block` with these adapters -> [B, T, `keep`, D].

        block: the frozen block.
        x: tokens, any class token first.
        text: text features [B, D'] for the support branch, which adds a text token; None for the query branch.
        has_text: bool [B], False masks the text token of single clips.
        keep: number of tokens of a frame to return; default: all. The others are only keys and values.
        """
        clips, frames = x.shape[:2]
        x = x.flatten(0, 1)  # (B*T, N+1, D): engines fuse less around linear layers of four axes
        normed = block.norm_1(x)
        if self.mean_from is None:
            frame, frame_normed = x[:, 0], normed[:, 0]  # (B*T, D)
        else:
            frame = x[:, self.mean_from :].mean(1)
            frame_normed = block.norm_1(frame)
        frame_normed = frame_normed.unflatten(0, (clips, frames))  # (B, T, D)
        moved = frame + self.temporal(block.attention(frame_normed, frame_normed)).flatten(0, 1)  # (B*T, D)
        context = [normed, block.norm_1(moved).unsqueeze(1)]
        if text is not None:
            token = block.norm_1(self.text(text)).unsqueeze(1)  # (B, 1, D)
            context.append(_by_frame(token, frames))
        z = torch.cat(context, dim=1)  # (B*T, N+2 or N+3, D)
        bias = None
        if text is not None and has_text is not None:
            bias = text_key_bias(has_text, z.shape[1], z.dtype)[:, None, None]  # (B, 1, 1, N+3)
            bias = _by_frame(bias, frames)
        seen = block.attention(normed[:, :keep], z, bias)
        adapted = self.multimodal(seen)
        x = x[:, :keep] + (seen + adapted if self.inner_skip else adapted)
        hidden = block.norm_2(x)
        out: Tensor = x + block.mlp(hidden) + self.joint_scale * self.joint(hidden)
        return out.unflatten(0, (clips, frames))


def _by_frame(x: Tensor, frames: int) -> Tensor:
    """[B, ...] -> [B*T, ...]: each clip's rows once for each of its frames."""
    return x.unsqueeze(1).expand(-1, frames, *x.shape[1:]).flatten(0, 1)
