"""docs/method.md written down literally: one clip, loops, nothing shared with the model but the weights' names.

Tensors of `state` are the model's own state dict in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

State = dict[str, Tensor]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{name}.weight"]
        + state[f"{name}.bias"]
    )


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(state: State, name: str, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Rows [Q, D], [K, D], [K, D] -> [Q, D], head by head."""
    width = q.shape[1]
    weight, bias = state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"]
    q, k, v = (
        x @ weight[i * width : (i + 1) * width].T + bias[i * width : (i + 1) * width] for i, x in enumerate((q, k, v))
    )
    size = width // heads
    mixed = []
    for head in range(heads):
        at = slice(head * size, (head + 1) * size)
        scores = torch.softmax(q[:, at] @ k[:, at].T / math.sqrt(size), dim=-1)
        mixed.append(scores @ v[:, at])
    return linear(state, f"{name}.out_proj", torch.cat(mixed, dim=1))


def adapter(state: State, name: str, x: Tensor) -> Tensor:
    return linear(state, f"{name}.up", gelu(linear(state, f"{name}.down", x)))


def mlp(state: State, block: str, h: Tensor) -> Tensor:
    return linear(state, f"{block}.mlp.c_proj", gelu(linear(state, f"{block}.mlp.c_fc", h)))


def adapted_block(state: State, i: int, x: list[Tensor], text: Tensor | None, heads: int) -> list[Tensor]:
    """Section 2: x is T frames of [N+1, D]."""
    block = f"clip.visual.transformer.resblocks.{i}"
    msa = f"{block}.attn"
    classes = torch.stack([frame[0] for frame in x])
    h = layer_norm(state, f"{block}.ln_1", classes)
    temporal = classes + adapter(state, f"blocks.{i}.temporal", attention(state, msa, h, h, h, heads))
    out = []
    for t, frame in enumerate(x):
        rows = [frame, temporal[t : t + 1]]
        if text is not None:
            rows.append(linear(state, f"blocks.{i}.text", text[None]))
        z = torch.cat(rows)
        h = layer_norm(state, f"{block}.ln_1", z)
        a = attention(state, msa, h, h, h, heads)
        z = (z + a + adapter(state, f"blocks.{i}.multimodal", a))[: len(frame)]
        h = layer_norm(state, f"{block}.ln_2", z)
        out.append(z + mlp(state, block, h) + 0.5 * adapter(state, f"blocks.{i}.joint", h))
    return out


def frame_features(
    state: State,
    pixels: Tensor,
    mean: Tensor,
    std: Tensor,
    text: Tensor | None,
    layers: int,
    depth: int,
    heads: int,
) -> Tensor:
    """uint8 [T, H, W, 3] -> [T, D'], patches cut out by hand."""
    weight = state["clip.visual.conv1.weight"]  # (D, 3, P, P)
    patch = weight.shape[-1]
    x = []
    for t, image in enumerate(pixels):
        image = ((image.double() / 255 - mean) / std).permute(2, 0, 1)
        rows = [state["clip.visual.class_embedding"]]
        for top in range(0, image.shape[1], patch):
            for left in range(0, image.shape[2], patch):
                rows.append((weight * image[:, top : top + patch, left : left + patch]).sum((1, 2, 3)))
        tokens = torch.stack(rows) + state["clip.visual.positional_embedding"]
        if depth == layers:
            tokens = tokens + state["temporal_embedding"][t]
        x.append(layer_norm(state, "clip.visual.ln_pre", tokens))
    for i in range(layers):
        if i < layers - depth:
            block = f"clip.visual.transformer.resblocks.{i}"
            for t in range(len(x)):
                h = layer_norm(state, f"{block}.ln_1", x[t])
                x[t] = x[t] + attention(state, f"{block}.attn", h, h, h, heads)
                x[t] = x[t] + mlp(state, block, layer_norm(state, f"{block}.ln_2", x[t]))
            continue
        if i == layers - depth and depth < layers:
            x = [tokens + state["temporal_embedding"][t] for t, tokens in enumerate(x)]
        x = adapted_block(state, i, x, text, heads)
    return torch.stack(
        [layer_norm(state, "clip.visual.ln_post", tokens)[0] @ state["clip.visual.proj"] for tokens in x]
    )


def ladder_features(
    state: State,
    pixels: Tensor,
    mean: Tensor,
    std: Tensor,
    text: Tensor | None,
    layers: int,
    heads: int,
    side_heads: int,
    temporal: tuple[int, ...],
) -> Tensor:
    """Section 11, every row of every layer: uint8 [T, H, W, 3] -> [T, D']."""
    depths = frozen_depths(state, pixels, mean, std, layers, heads)
    s = [below(state, 0, tokens) for tokens in depths[0]]
    first = min(temporal)
    for layer in range(1, layers + 1):
        side = f"side.layers.{layer - 1}"
        if layer == first:
            s = [tokens + state["side.temporal_embedding"][t] for t, tokens in enumerate(s)]
        out = []
        for t, tokens in enumerate(s):
            h = layer_norm(state, f"{side}.norm_attention", tokens)
            if layer not in temporal:
                seen = attention(state, f"{side}.attention", h, h, h, side_heads)
            else:
                rows = []
                for place in range(len(tokens)):
                    keys = [layer_norm(state, f"{side}.norm_attention", other[place]) for other in s]
                    if text is not None:
                        key = linear(state, f"{side}.text", text)
                        keys.append(layer_norm(state, f"{side}.norm_attention", key))
                    k = torch.stack(keys)
                    rows.append(attention(state, f"{side}.attention", h[place : place + 1], k, k, side_heads))
                seen = torch.cat(rows)
            x = tokens + seen
            h = layer_norm(state, f"{side}.norm_mlp", x)
            x = x + linear(state, f"{side}.mlp.2", gelu(linear(state, f"{side}.mlp.0", h)))
            gate = 1 / (1 + torch.exp(-10 * state[f"{side}.gamma"]))
            out.append(gate * x + (1 - gate) * below(state, layer, depths[layer][t]))
        s = out
    features = []
    for t, tokens in enumerate(s):
        own = layer_norm(state, "clip.visual.ln_post", depths[layers][t])[0] @ state["clip.visual.proj"]
        features.append(own + layer_norm(state, "side.norm", tokens[0]) @ state["side.up.weight"].T)
    return torch.stack(features)


def frozen_depths(
    state: State, pixels: Tensor, mean: Tensor, std: Tensor, layers: int, heads: int
) -> list[list[Tensor]]:
    """CLIP's tokens before the first block and after each, [N+1, D] for each of T frames."""
    depths = [embedded(state, pixels, mean, std)]
    for i in range(layers):
        block = f"clip.visual.transformer.resblocks.{i}"
        x = []
        for tokens in depths[-1]:
            h = layer_norm(state, f"{block}.ln_1", tokens)
            z = tokens + attention(state, f"{block}.attn", h, h, h, heads)
            x.append(z + mlp(state, block, layer_norm(state, f"{block}.ln_2", z)))
        depths.append(x)
    return depths


def embedded(state: State, pixels: Tensor, mean: Tensor, std: Tensor) -> list[Tensor]:
    """Pixels to CLIP's tokens before the first block, patches cut out by hand."""
    weight = state["clip.visual.conv1.weight"]  # (D, 3, P, P)
    patch = weight.shape[-1]
    x = []
    for image in pixels:
        image = ((image.double() / 255 - mean) / std).permute(2, 0, 1)
        rows = [state["clip.visual.class_embedding"]]
        for top in range(0, image.shape[1], patch):
            for left in range(0, image.shape[2], patch):
                rows.append((weight * image[:, top : top + patch, left : left + patch]).sum((1, 2, 3)))
        tokens = torch.stack(rows) + state["clip.visual.positional_embedding"]
        x.append(layer_norm(state, "clip.visual.ln_pre", tokens))
    return x


def below(state: State, layer: int, tokens: Tensor) -> Tensor:
    return layer_norm(state, f"side.down.{layer}.norm", tokens) @ state[f"side.down.{layer}.linear.weight"].T


def prototype(state: State, features: Tensor, text: Tensor | None) -> Tensor:
    """Section 3: [T, D'] -> [T, D']."""
    q, kv = features, features
    if text is not None:
        q = features + text.repeat(len(features), 1)
        kv = torch.cat([text[None], features])
    k = layer_norm(state, "prototype.norm_attention", kv)
    a = q + attention(state, "prototype.attention", layer_norm(state, "prototype.norm_attention", q), k, k, 8)
    h = layer_norm(state, "prototype.norm_ffn", a)
    return a + linear(state, "prototype.ffn.2", gelu(linear(state, "prototype.ffn.0", h)))


def otam_one_way(d: list[list[float]], smoothing: float) -> float:
    """Section 4, cell by cell on plain numbers."""

    def softmin(*options: float) -> float:
        return -smoothing * math.log(sum(math.exp(-option / smoothing) for option in options))

    padded = [[0.0, *row, 0.0] for row in d]
    last = len(padded[0]) - 1
    total = [[0.0] * (last + 1) for _ in padded]
    for m in range(1, last + 1):
        total[0][m] = total[0][m - 1] + padded[0][m]
    for i in range(1, len(padded)):
        for m in range(1, last + 1):
            options = [total[i - 1][m - 1], total[i][m - 1]]
            if m == 1 or m == last:
                options.append(total[i - 1][m])
            total[i][m] = padded[i][m] + softmin(*options)
    return total[-1][-1]


def otam(query: Tensor, support: Tensor, smoothing: float = 0.5) -> float:
    """[T, D], [M, D] -> the two directions summed."""
    d = [[1 - float(q @ s / (q.norm() * s.norm())) for s in support] for q in query]
    transposed = [list(column) for column in zip(*d, strict=True)]
    return otam_one_way(d, smoothing) + otam_one_way(transposed, smoothing)
