"""A model with random weights of any size, for what needs no real one."""

from __future__ import annotations

from typing import Any

from maclip.model.maclip import MaClip

TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 1, "layers": 1}


def small_model(name: str, *, feature_width: int, layers: int = 1, width: int = 64, **choices: Any) -> MaClip:
    """A MaClip on a CLIP for 32 px pictures, with next to no text tower, in evaluation mode.

    name: what its backbone is called.
    feature_width: D', the width of the joint space.
    layers, width: blocks of the image tower (default 1) and their width D (default 64, one head each 64).
    choices: of `ModelConfig.of`, such as `frames` and `metric`.
    """
    import open_clip
    import torch

    from maclip.backbones.loading import LoadedBackbone
    from maclip.config import ModelConfig
    from maclip_runtime.reading.frames import Preprocess

    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 16, "width": width, "layers": layers, "head_width": 64}
    clip = open_clip.CLIP(embed_dim=feature_width, vision_cfg=vision, text_cfg=TEXT).requires_grad_(False)
    preprocess = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    backbone = LoadedBackbone(clip, clip.encode_text, preprocess, name, "none", "0" * 64)
    return MaClip(backbone, ModelConfig.of(**choices)).eval()
