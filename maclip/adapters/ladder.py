"""The ladder: a light side network that reads the frozen tower at every depth (docs/method.md, section 11).

`z_0` are the frozen tokens before the first block, `z_l` those after block l. The side tokens `s_l` are mixed with them
layer by layer. Most layers attend within a frame; a few attend along time, at each place of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maclip.adapters.registry import SideNetwork, adapter
from maclip.backbones.image_towers import FrozenTower
from maclip.config import AdapterConfig
from maclip.layers import attend, text_key_bias
from maclip_runtime.errors import MaclipError

HEAD_WIDTH = 64
NARROW = 512  # a tower narrower than this has a ladder of half its width, a wider one of a third
FEW_HEADS = 4  # of a ladder narrower than FEW_HEADS * HEAD_WIDTH
FEW_LAYERS = 6  # a tower with fewer blocks has two temporal layers, in its middle and at its end
GATE_SLOPE = 10.0  # g_l = sigmoid(GATE_SLOPE * gamma_l)


class Down(nn.Module):
    """W_l LN_l(z_l): frozen tokens [..., D] -> [..., d]."""

    def __init__(self, width: int, side_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, side_width, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """[..., D] -> [..., d]."""
        out: Tensor = self.linear(self.norm(z))
        return out


class SideLayer(nn.Module):
    """One layer of the ladder: g Side(s) + (1 - g) `below`, where Side is a pre-norm transformer block of width d.

    width, heads: d and its attention heads.
    text_width: D' of a temporal layer with a text key; None (default): without.
    temporal: whether it attends along time at each place; default: among the tokens of each frame.
    text_init_std: standard deviation of the initial projection of the text key.
    """

    def __init__(
        self, width: int, heads: int, *, temporal: bool = False, text_width: int | None = None, text_init_std: float = 0
    ) -> None:
        super().__init__()
        self.temporal = temporal
        self.gamma = nn.Parameter(torch.zeros(()))
        self.norm_attention = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.text = None if text_width is None else nn.Linear(text_width, width)
        if self.text is not None:
            nn.init.normal_(self.text.weight, std=text_init_std)
            nn.init.zeros_(self.text.bias)

    def forward(self, s: Tensor, below: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """Side tokens [B, T, P, d] and `below` [B, T, K, d] -> the first K rows of each frame, [B, T, K, d].

        below: W_l LN_l(z_l).
        text, has_text: as for `SideNetwork.tower`; used by a temporal layer with a text key.
        """
        keep = below.shape[2]
        kept = s[:, :, :keep]
        if self.temporal:
            seen = self._along_time(self.norm_attention(kept), text, has_text)
        else:
            normed = self.norm_attention(s)
            rows = attend(self.attention, normed[:, :, :keep].flatten(0, 1), normed.flatten(0, 1))
            seen = rows.unflatten(0, s.shape[:2])
        x = kept + seen
        x = x + self.mlp(self.norm_mlp(x))
        gate = torch.sigmoid(GATE_SLOPE * self.gamma)
        out: Tensor = gate * x + (1 - gate) * below
        return out

    def _along_time(self, normed: Tensor, text: Tensor | None, has_text: Tensor | None) -> Tensor:
        """Attention among the frames of each place, and the text: [B, T, P, d] -> [B, T, P, d]."""
        clips, frames, places, _ = normed.shape
        x = normed.transpose(1, 2).flatten(0, 1)  # (B*P, T, d)
        context, bias = x, None
        if text is not None and self.text is not None:
            key = self.norm_attention(self.text(text))[:, None, None]  # (B, 1, 1, d)
            context = torch.cat([x, key.expand(-1, places, -1, -1).flatten(0, 1)], dim=1)  # (B*P, T+1, d)
            if has_text is not None:
                bias = text_key_bias(has_text, frames + 1, x.dtype)  # (B, T+1)
                bias = bias.repeat_interleave(places, dim=0)[:, None, None]  # (B*P, 1, 1, T+1)
        return attend(self.attention, x, context, bias).unflatten(0, (clips, places)).transpose(1, 2)


@adapter("ladder")
class Ladder(SideNetwork):
    """Frame feature = CLIP's own + W_up LN(s_L of the class token). W_up starts at zero: untrained, it is frozen CLIP.

    In a tower that does not use a class token, the mean of a frame's patches takes its place (our choice). Rows that no
    later layer reads are not computed: a temporal layer reads only its own place. A convolutional tower is read by the
    blocks of its last two stages, averaged to the last one's grid (our choice; `maclip/backbones/read_towers.py`).

    tower: the frozen image tower.
    config: of the adapters; `config.ladder` has the width and the temporal layers.
    frames: T.
    Raises `option-invalid` for a width that its heads do not divide, and for temporal layers that do not exist.
    """

    def __init__(self, tower: FrozenTower, config: AdapterConfig, frames: int) -> None:
        super().__init__()
        widths = tower.read_widths
        count, widest = len(widths) - 1, max(widths)
        width = config.ladder.width or side_width(sorted(widths)[count // 2])
        temporal = temporal_layers(config.ladder.temporal, count)
        text_width = tower.feature_width if config.text_token else None
        heads = _heads(width)
        self.width, self.feature_width, self.mean_from = width, tower.feature_width, tower.mean_from
        self.first, self._widths = temporal[0], widths
        self.kept = _kept_rows(tower, count, temporal)
        self.down = nn.ModuleList(Down(read, width) for read in widths)
        self.layers = nn.ModuleList(
            SideLayer(
                width,
                heads,
                temporal=i in temporal,
                text_width=text_width if i in temporal else None,
                text_init_std=config.text_init_std,
            )
            for i in range(1, count + 1)
        )
        self.temporal_embedding = nn.Parameter(torch.zeros(frames, width))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, tower.feature_width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.frozen_shape = sum(self.kept) + _rows_for(self.feature_width, widest), widest
        self._stem_rows = [self.kept[self.first - 1], *self.kept[self.first :]]
        self._feature_rows = _rows_for(self.feature_width, width)
        self.stem_shape = sum(self._stem_rows) + 2 * self._feature_rows, width

    def read(self, tower: FrozenTower, pixels: Tensor) -> Tensor:
        """Normalised pixels [F, 3, H, W] -> the tokens of each depth that are read, then CLIP's feature, as rows.

        Narrow tokens end with zeros.
        """
        depths, feature = tower.read(pixels, self.kept)
        widest = self.frozen_shape[1]
        return torch.cat([*(_padded(z, widest) for z in depths), _as_rows(feature, widest)], dim=1)

    def stem(self, frozen: Tensor, run: Callable[..., Tensor]) -> Tensor:
        """[..., *frozen_shape] -> s before the first temporal layer, later W_l LN_l(z_l), and CLIP's feature."""
        *depths, feature = frozen.split([*self.kept, frozen.shape[-2] - sum(self.kept)], dim=-2)
        below = [run(down, z[..., :width]) for down, z, width in zip(self.down, depths, self._widths, strict=True)]
        lead = frozen.shape[:-2]
        s = below[0]
        if self.first > 1:
            single = [x.reshape(-1, 1, *x.shape[-2:]) for x in below[: self.first]]  # (F, 1, K, d)
            s = single[0]
            for layer, one in zip(self.layers, single[1:], strict=False):
                s = run(layer, s, one)
            s = s.reshape(*lead, *s.shape[-2:])
        feature = _as_rows(feature.flatten(-2)[..., : self.feature_width], self.width)
        return torch.cat([s, *below[self.first :], feature, torch.zeros_like(feature)], dim=-2)

    def stored(self, tokens: Tensor) -> Tensor:
        """In half precision; CLIP's feature, which is part of the result, as a half and the half of what it lacks."""
        halves, rows = tokens.half(), self._feature_rows
        feature = slice(-2 * rows, -rows)
        lacking = tokens[..., feature, :] - halves[..., feature, :].to(tokens.dtype)
        return torch.cat([halves[..., :-rows, :], lacking.half()], dim=-2)

    def tower(self, tokens: Tensor, text: Tensor | None, has_text: Tensor | None, run: Callable[..., Tensor]) -> Tensor:
        """[B, T, *stem_shape] -> frame features [B, T, D']."""
        rows = self._feature_rows
        s, *below, feature, lacking = tokens.split([*self._stem_rows, rows, rows], dim=-2)
        s = s + self.temporal_embedding[:, None]  # (T, 1, d)
        for layer, one in zip(list(self.layers)[self.first - 1 :], below, strict=True):
            s = run(layer, s, one, text, has_text)
        frame = s[:, :, 0] if self.mean_from is None else s[:, :, self.mean_from :].mean(2)  # (B, T, d)
        own = (feature + lacking).flatten(-2)[..., : self.feature_width]
        out: Tensor = own + self.up(self.norm(frame))
        return out


def side_width(width: int) -> int:
    """The default d for a tower of `width` D."""
    return width // 2 if width < NARROW else HEAD_WIDTH * round(width / 3 / HEAD_WIDTH)


def temporal_layers(chosen: Sequence[int], count: int) -> tuple[int, ...]:
    """The temporal layers of `count`, in order, from 1: those `chosen`, else the default. Raises `option-invalid`."""
    if chosen:
        found = tuple(sorted(set(chosen)))
        if not 1 <= found[0] <= found[-1] <= count:
            raise MaclipError(
                "option-invalid",
                f"--ladder-temporal {found[0] if found[0] < 1 else found[-1]} is not a layer of {count}.",
                f"Choose from 1 to {count}.",
            )
        return found
    if count < FEW_LAYERS:
        return tuple(sorted({math.ceil(count / 2), count}))
    return tuple(sorted({round(count * part / 12) for part in (7, 9, 11)}))


def _heads(width: int) -> int:
    heads = FEW_HEADS if width < FEW_HEADS * HEAD_WIDTH else max(1, width // HEAD_WIDTH)
    if width % heads:
        step = FEW_HEADS if heads == FEW_HEADS else HEAD_WIDTH
        raise MaclipError(
            "option-invalid",
            f"A ladder of width {width} cannot be divided among {heads} attention heads.",
            f"Choose --ladder-width {max(step, width // step * step)}.",
        )
    return heads


def _kept_rows(tower: FrozenTower, count: int, temporal: Sequence[int]) -> list[int]:
    """How many rows of s_0 .. s_L are needed: those the frame feature reads, and what spatial layers attend to."""
    kept = [1 if tower.mean_from is None else tower.read_rows]
    for layer in range(count, 0, -1):
        kept.append(kept[-1] if layer in temporal else tower.read_rows)
    return kept[::-1]


def _rows_for(numbers: int, width: int) -> int:
    return math.ceil(numbers / width)


def _padded(tokens: Tensor, width: int) -> Tensor:
    """[..., D_l] -> [..., `width`], with zeros at the end."""
    return tokens if tokens.shape[-1] == width else F.pad(tokens, (0, width - tokens.shape[-1]))


def _as_rows(feature: Tensor, width: int) -> Tensor:
    """A feature [..., D'] as rows of `width`, padded with zeros: [..., rows, `width`]."""
    rows = _rows_for(feature.shape[-1], width)
    return F.pad(feature, (0, rows * width - feature.shape[-1])).unflatten(-1, (rows, width))
