"""Each kind of image tower against its own library: cut in two, block by block, and what is refused."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock, VisionTransformer
from small_clip import learn_once, randomised
from small_towers import CUSTOM, OURS, SIGLIP, STANDS, small_backbone_of, small_visual, timm_visual
from timm.models.vision_transformer import ResPostBlock
from torch import Tensor

from maclip.adapters.blocks import BlockAdapters
from maclip.backbones.catalogue import FAMILIES, look_up
from maclip.backbones.cutting import cut_tower
from maclip.backbones.loading import load_backbone
from maclip.config import AdapterConfig, ModelConfig
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError

KINDS = sorted(STANDS)
FRAMES = torch.randint(0, 256, (2, 8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", KINDS)
def test_stem_and_tower_together_are_open_clips_own_encoder_wherever_they_are_cut(kind):
    backbone = small_backbone_of(kind)
    for depth in range(4):
        model = (
            MaClip(backbone, ModelConfig.of(adapters="blocks", adapted_depth=depth, prototype="none")).eval().double()
        )
        model.blocks.clear()  # nothing trained, so that only the cut is left
        normed = (FRAMES.flatten(0, 1).double() / 255 - model.pixel_mean) / model.pixel_std
        with torch.no_grad():
            expected = model.clip.encode_image(normed.permute(0, 3, 1, 2)).unflatten(0, (2, 8))
            found = model.features(FRAMES)
            tokens = model.stem(FRAMES.flatten(0, 1))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert tokens.shape == (16, model.image.rows, model.image.width)
        assert found.shape[-1] == model.feature_width


def own_attention(block: Any, x: Tensor) -> Tensor:
    """The attention branch as the block's own library computes it, on rows that are not normed yet."""
    if isinstance(block, ResidualAttentionBlock):
        return block.ls_1(block.attention(block.ln_1(x)))
    if isinstance(block, CustomResidualAttentionBlock):
        return block.ls_1(block.ln_attn(block.attn(block.ln_1(x))))
    return block.ls1(block.attn(block.norm1(x)))


def own_mlp(block: Any, h: Tensor) -> Tensor:
    return block.ls_2(block.mlp(h)) if hasattr(block, "ls_2") else block.ls2(block.mlp(h))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapted_block_is_the_methods_equations_on_the_librarys_own_block(kind, named):
    visual: Any = small_visual(kind).double()
    own: Any = (visual.trunk.blocks if hasattr(visual, "trunk") else visual.transformer.resblocks)[1]
    tower = cut_tower(visual)
    assert tower.mean_from == STANDS[kind]
    adapters = BlockAdapters(tower, AdapterConfig()).double()
    torch.manual_seed(5)
    x, text = (
        torch.randn(2, 8, tower.rows, 32).double(),
        torch.randn(2, tower.feature_width).double() if named else None,
    )
    frame = x[:, :, 0] if STANDS[kind] is None else x[:, :, STANDS[kind] :].mean(2)

    def rows(moved: Tensor) -> Tensor:
        token = [] if text is None else [adapters.text(text)[:, None, None].expand(-1, 8, -1, -1)]
        return torch.cat([x, moved[:, :, None], *token], dim=2).flatten(0, 1)  # z of docs/method.md, section 2

    with torch.no_grad():
        fresh = adapters(tower.blocks[1], x, text)
        torch.testing.assert_close(fresh.flatten(0, 1), own(rows(frame))[:, : tower.rows])
        for parameter in adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        z = rows(frame + adapters.temporal(own_attention(own, frame)))
        seen = own_attention(own, z)
        z = (z + seen + adapters.multimodal(seen))[:, : tower.rows]
        h = (own.ln_2 if hasattr(own, "ln_2") else own.norm2)(z)
        expected = z + own_mlp(own, h) + 0.5 * adapters.joint(h)
        torch.testing.assert_close(adapters(tower.blocks[1], x, text).flatten(0, 1), expected)
        kept = adapters(tower.blocks[1], x, text, keep=1)
        torch.testing.assert_close(kept.flatten(0, 1), expected[:, :1])


@pytest.mark.parametrize("kind", ["siglip", "clipa", "mobileclip"])
def test_every_tuned_tensor_learns_and_no_frozen_one_does(kind):
    model = randomised(MaClip(small_backbone_of(kind), ModelConfig.of(adapters="blocks", adapted_depth=2))).train()
    learn_once(model, FRAMES)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("swin_base_patch4_window7_224", "SwinTransformer"),
        ("vit_relpos_medium_patch16_cls_224", "VisionTransformerRelPos"),
        ("ViTamin-XL-384", "384 px where its configuration says 256"),
    ],
)
def test_others_are_refused_by_name_before_anything_is_loaded(monkeypatch, name, kind):
    monkeypatch.setattr(open_clip, "create_model", None)
    with pytest.raises(MaclipError) as caught:
        load_backbone(name, "openai")
    assert caught.value.code == "backbone-unsupported"
    assert name in caught.value.message
    assert kind in caught.value.message
    assert FAMILIES in caught.value.fix
    assert "maclip backbones" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "blocks", "feature_width", "class_token"),
    [
        ("ViT-B-32", 12, 512, True),
        ("ViT-B-16-SigLIP", 12, 768, False),
        ("ViT-SO400M-14-SigLIP2", 27, 1152, False),
        ("ViT-L-14-CLIPA", 24, 768, False),
        ("coca_ViT-B-32", 12, 512, True),
        ("ViTamin-S", 14, 384, False),
        ("MobileCLIP-B", 12, 512, True),
        ("MobileCLIP2-L-14", 24, 768, True),
    ],
)
def test_each_family_that_is_said_to_work_is_found_to(name, blocks, feature_width, class_token):
    found = look_up(name)
    assert found.problem is None
    assert (found.blocks, found.feature_width, found.class_token) == (blocks, feature_width, class_token)


UNFIT: dict[str, tuple[Any, str]] = {
    "rows": (lambda: VisionTransformer(**OURS, pool_type="none"), "several tokens"),
    "cascade": (lambda: VisionTransformer(**OURS, attentional_pool="cascade", attn_pooler_heads=4), "several tokens"),
    "cosine": (lambda: VisionTransformer(**OURS, **CUSTOM | {"qk_norm": False, "scaled_cosine_attn": True}), "cosine"),
    "oblong": (lambda: VisionTransformer(**OURS | {"image_size": (32, 64)}), "not square"),
    "post-norm": (lambda: timm_visual(**SIGLIP, block_fn=ResPostBlock), "ResPostBlock"),
    "differential": (lambda: timm_visual(**SIGLIP, attn_layer="diff"), "DiffAttention"),
    "any size": (lambda: timm_visual(**SIGLIP, dynamic_img_size=True), "any size"),
    "unpooled": (lambda: timm_visual(class_token=True, global_pool="", num_classes=0), "nothing"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_tower_that_only_looks_alike_is_refused_with_the_reason(what):
    make, reason = UNFIT[what]
    with pytest.raises(ValueError, match=reason):
        cut_tower(make())
