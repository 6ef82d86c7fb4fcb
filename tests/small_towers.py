"""Image towers of every kind that works, small and with random weights, each inside a CLIP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import nn

from maclip.backbones.loading import LoadedBackbone
from maclip_runtime.reading.frames import Preprocess

OURS = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 3, "heads": 4, "mlp_ratio": 2.0, "output_dim": 16}
TIMM = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 4, "mlp_ratio": 2.0}
CUSTOM = {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_attn": True, "scale_fc": True}

# By kind: what it is made with, and which tokens stand for a frame over time (None: the class token).
OPEN_CLIP: dict[str, tuple[dict[str, Any], int | None]] = {
    "clip": ({}, None),
    "quick-gelu": ({"act_layer": open_clip.transformer.QuickGELU}, None),
    "layer-scale": ({"ls_init_value": 0.5}, None),
    "patch-dropout": ({"patch_dropout": 0.5}, None),
    "clipa": ({"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}, 1),
    "average": ({"pool_type": "avg", "pos_embed_type": "sin_cos_2d"}, 1),
    "coca": ({"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 5}, None),
    "custom": (CUSTOM, None),
}
SIGLIP = {"class_token": False, "global_pool": "map", "num_classes": 0}
TIMM_KINDS: dict[str, tuple[dict[str, Any], int | None]] = {
    "siglip": (SIGLIP, 0),
    "mobileclip": ({"class_token": True, "global_pool": "token", "num_classes": 16, "pre_norm": True}, None),
    "timm-average": ({"class_token": False, "global_pool": "avg", "num_classes": 16, "reg_tokens": 2}, 2),
    "timm-norms": ({**SIGLIP, "class_token": True, "qk_norm": True, "scale_attn_norm": True, "init_values": 0.5}, 1),
    "timm-prefix": ({**SIGLIP, "class_token": True, "pool_include_prefix": True}, None),
}
# Towers that a side network reads but whose blocks cannot be adapted, on frames of 64 px.
EVA = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 16}
STAGES = {"num_classes": 16, "layers": (1, 1, 2, 1), "embed_dims": (16, 16, 32, 64), "cls_ratio": 1.0}
MIXERS = {"token_mixers": ("repmixer", "repmixer", "repmixer", "attention"), "downsamples": (False, True, True, True)}
READ_ONLY: dict[str, tuple[Callable[[], nn.Module], int | None]] = {
    "eva": (lambda: Eva(**EVA, use_rot_pos_emb=True, ref_feat_shape=(4, 4), global_pool="token"), None),
    "perception-encoder": (lambda: Eva(**EVA, use_rot_pos_emb=True, ref_feat_shape=(4, 4), global_pool="map",
                                       attn_pool_num_heads=4, class_token=False, use_pre_transformer_norm=True), 0),
    "fastvit": (lambda: FastVit(**STAGES, **MIXERS), 0),
    "convnext": (lambda: ConvNeXt(num_classes=16, depths=(1, 1, 3, 2), dims=(16, 16, 32, 64)), 0),
    "resnet": (lambda: ModifiedResNet((1, 1, 2, 1), output_dim=16, heads=4, image_size=64, width=8), 0),
}  # fmt: skip
STANDS = {kind: stands for kind, (_, stands) in (OPEN_CLIP | TIMM_KINDS).items()}


def small_visual(kind: str) -> nn.Module:
    """The image tower of `kind`, every weight random: fresh norms and layer scales would hide mistakes."""
    torch.manual_seed(3)
    visual: nn.Module
    if kind in READ_ONLY:
        visual = read_only_visual(READ_ONLY[kind][0]())
    elif kind in OPEN_CLIP:
        visual = VisionTransformer(**{**OURS, **OPEN_CLIP[kind][0]})
    else:
        visual = timm_visual(**TIMM_KINDS[kind][0])
    with torch.no_grad():
        for parameter in visual.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return visual.eval()


def timm_visual(**choices: Any) -> nn.Module:
    """open_clip's wrapper of a timm tower, around a smaller one of the same class."""
    visual: Any = TimmModel("test_vit3", embed_dim=16, image_size=224, pool="map", proj="none")
    visual.trunk, visual.image_size = TimmVisionTransformer(**{**TIMM, **choices}), (32, 32)
    return visual  # type: ignore[no-any-return]


def read_only_visual(trunk: nn.Module) -> nn.Module:
    """open_clip's wrapper of a timm tower of another kind; OpenAI's ResNet needs none."""
    if isinstance(trunk, ModifiedResNet):
        return trunk
    visual = timm_visual()
    visual.trunk, visual.image_size = trunk, (64, 64)  # type: ignore[assignment]
    return visual


def small_backbone_of(kind: str) -> LoadedBackbone:
    """A CLIP whose image tower is of `kind`. It reads no names: its tokenizer is not of its vocabulary."""
    visual = small_visual(kind)
    width = 32 if TIMM_KINDS.get(kind, ({"num_classes": 16}, 0))[0]["num_classes"] == 0 else 16
    vision = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 8}
    text = {"context_length": 16, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    clip: Any = open_clip.CLIP(embed_dim=width, vision_cfg=vision, text_cfg=text)
    clip.visual = visual
    clip.eval().requires_grad_(False)
    preprocess = Preprocess.for_size(64 if kind in READ_ONLY else 32, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    return LoadedBackbone(clip, open_clip.get_tokenizer("ViT-B-32"), preprocess, kind, "none", "0" * 64)
