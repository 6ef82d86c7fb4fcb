"""A CLIP small enough for float64 and loops, with random weights."""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor

from maclip.backbones.loading import LoadedBackbone
from maclip.model.maclip import MaClip
from maclip_runtime.reading.frames import Preprocess

VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 3, "head_width": 8}
TEXT = {"context_length": 16, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}


def small_backbone() -> LoadedBackbone:
    torch.manual_seed(7)
    clip = open_clip.CLIP(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT).eval().requires_grad_(False)

    def tokenizer(texts: list[str]) -> Tensor:
        rows = [[1 + ord(letter) % 60 for letter in text[-14:]] + [63] for text in texts]
        return torch.tensor([row + [0] * (16 - len(row)) for row in rows])

    preprocess = Preprocess.for_size(32, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    return LoadedBackbone(clip, tokenizer, preprocess, "small", "none", "0" * 64)


def randomised(model: MaClip) -> MaClip:
    """Zero-initialised adapters would hide mistakes: give every tuned tensor random values."""
    torch.manual_seed(11)
    for parameter in model.tuned_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def learn_once(model: MaClip, frames: Tensor) -> Tensor:
    """Gradients of an episode of two clips [2, T, H, W, 3] reach every tuned tensor and no frozen one; the texts."""
    text = torch.randn(2, model.feature_width)
    prototypes = model.prototypes(model.features(frames, text), text)
    (model.match(model.features(frames), prototypes, text)[0] * torch.eye(2)).sum().backward()
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        assert (grad is None) if name.startswith("clip.") else (grad is not None and grad.abs().sum() > 0), name
    return text
