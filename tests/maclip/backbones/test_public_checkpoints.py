"""Checkpoints as they exist in public, each written here from a small random model, load to that model's features."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from maclip.backbones.loading import load_backbone
from maclip_runtime.errors import MaclipError

NAME = "ViT-maclip-public"
VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 8}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
CONFIG: dict[str, Any] = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
OPENAI_EXTRAS = {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}


@pytest.fixture(scope="module", autouse=True)
def known_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the small ViT known to open_clip by name."""
    path = tmp_path_factory.mktemp("configs") / f"{NAME}.json"
    path.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(path)


def made(quick_gelu: bool = False, **vision: Any) -> Any:
    """A random CLIP whose features depend on its activation and heads as clearly as a trained one's."""
    torch.manual_seed(3)
    clip = open_clip.CLIP(embed_dim=16, vision_cfg={**VISION, **vision}, text_cfg=TEXT, quick_gelu=quick_gelu).eval()
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    return clip


def features(clip: Any, size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(2, 3, size, size, generator=generator)
    tokens = torch.tensor([[49406, 320, 1125, 49407] + [0] * 12])
    with torch.no_grad():
        return clip.encode_image(pixels), clip.encode_text(tokens)


def assert_equal(loaded: Any, source: Any, tolerance: float = 1e-5) -> None:
    for ours, theirs in zip(features(loaded), features(source), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's tensors as transformers' CLIPModel names them (written from its source, not from ours)."""
    out: dict[str, Tensor] = {"logit_scale": state["logit_scale"]}
    for theirs, ours, layers in (("text_model", "", 1), ("vision_model", "visual.", 2)):
        for i in range(layers):
            block, layer = f"{ours}transformer.resblocks.{i}", f"{theirs}.encoder.layers.{i}"
            for kind in ("weight", "bias"):
                q, k, v = state[f"{block}.attn.in_proj_{kind}"].chunk(3)
                for name, part in (("q", q), ("k", k), ("v", v)):
                    out[f"{layer}.self_attn.{name}_proj.{kind}"] = part.clone()
                out[f"{layer}.self_attn.out_proj.{kind}"] = state[f"{block}.attn.out_proj.{kind}"]
                out[f"{layer}.layer_norm1.{kind}"] = state[f"{block}.ln_1.{kind}"]
                out[f"{layer}.layer_norm2.{kind}"] = state[f"{block}.ln_2.{kind}"]
                out[f"{layer}.mlp.fc1.{kind}"] = state[f"{block}.mlp.c_fc.{kind}"]
                out[f"{layer}.mlp.fc2.{kind}"] = state[f"{block}.mlp.c_proj.{kind}"]
    for kind in ("weight", "bias"):
        out[f"text_model.final_layer_norm.{kind}"] = state[f"ln_final.{kind}"]
        out[f"vision_model.pre_layrnorm.{kind}"] = state[f"visual.ln_pre.{kind}"]
        out[f"vision_model.post_layernorm.{kind}"] = state[f"visual.ln_post.{kind}"]
    out["text_model.embeddings.token_embedding.weight"] = state["token_embedding.weight"]
    out["text_model.embeddings.position_embedding.weight"] = state["positional_embedding"]
    out["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    out["vision_model.embeddings.class_embedding"] = state["visual.class_embedding"]
    out["vision_model.embeddings.patch_embedding.weight"] = state["visual.conv1.weight"]
    out["vision_model.embeddings.position_embedding.weight"] = state["visual.positional_embedding"]
    out["text_projection.weight"] = state["text_projection"].T.contiguous()
    out["visual_projection.weight"] = state["visual.proj"].T.contiguous()
    return out


def transformers_folder(folder: Path, clip: Any, act: str) -> Path:
    folder.mkdir()
    save_file(to_transformers(clip.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "clip",
        "projection_dim": 16,
        "vision_config": {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
            "image_size": 32, "patch_size": 8, "hidden_act": act,
        },
        "text_config": {
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
            "max_position_embeddings": 16, "vocab_size": 49408, "hidden_act": act,
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    preprocess = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocess))
    return folder


def open_clip_folder(folder: Path, clip: Any, **changes: Any) -> Path:
    folder.mkdir()
    config = {**CONFIG, **changes}
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "state dict": lambda state: state,
    "module.": lambda state: {f"module.{k}": v for k, v in state.items()},
    "module.module.": lambda state: {f"module.module.{k}": v for k, v in state.items()},
    "torch.compile": lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
    "compiled and parallel": lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
    "open_clip's training": lambda state: {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}},
    "Lightning": lambda state: {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in state.items()}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "transformers' names": to_transformers,
    "nested in any order": lambda state: {"model": {"state_dict": {"module": state}}, "epoch": 3},
    "another wrapper": lambda state: {f"student.net.{k}": v for k, v in state.items()},
    "a compiled tower": lambda state: {k.replace("visual.", "visual._orig_mod."): v for k, v in state.items()},
    "a loss beside it": lambda state: {**{f"model.{k}": v for k, v in state.items()}, "loss.weight": torch.ones(2)},
}


@pytest.mark.parametrize("form", WRAPPED)
def test_a_bare_file_in_every_common_form(tmp_path: Path, form: str) -> None:
    source = made()
    torch.save(WRAPPED[form](source.state_dict()), tmp_path / "clip.pt")
    assert_equal(load_backbone(NAME, str(tmp_path / "clip.pt")).clip, source)


def test_safetensors_with_metadata_and_half_precision(tmp_path: Path) -> None:
    source = made().half().float()
    half = {key: value.half().contiguous() for key, value in source.state_dict().items()}
    save_file(half, tmp_path / "clip.safetensors", metadata={"format": "pt", "from": "somewhere"})
    assert_equal(load_backbone(NAME, str(tmp_path / "clip.safetensors")).clip, source)


class Archive(torch.nn.Module):
    """OpenAI's archives are TorchScript modules with the model's tensors and three numbers as attributes."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for key, value in state.items():
            *path, last = key.split(".")
            place: torch.nn.Module = self
            for part in path:
                if not hasattr(place, part):
                    place.add_module(part, torch.nn.Module())
                place = getattr(place, part)
            place.register_buffer(last, value.clone())

    def forward(self) -> int:
        return 0


@pytest.mark.filterwarnings("ignore")
def test_openai_s_archive_brings_quick_gelu(tmp_path: Path) -> None:
    source = made(quick_gelu=True)
    extras = {key: torch.tensor(value) for key, value in OPENAI_EXTRAS.items()}
    torch.jit.script(Archive({**source.state_dict(), **extras})).save(str(tmp_path / "ViT.pt"))
    assert_equal(load_backbone(NAME, str(tmp_path / "ViT.pt")).clip, source)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_an_open_clip_folder_decides_activation_heads_and_pixels(tmp_path: Path, quick_gelu: bool) -> None:
    source = made(quick_gelu, head_width=16)
    vision = {**VISION, "head_width": 16}
    folder = open_clip_folder(tmp_path / "hub", source, quick_gelu=quick_gelu, vision_cfg=vision)
    loaded = load_backbone(NAME, str(folder))
    assert_equal(loaded.clip, source)
    assert (loaded.preprocess.mean, loaded.preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert loaded.preprocess.resize is None  # squashed
    # The folder, its file, and whatever name: one model, one digest.
    file = load_backbone(NAME, str(folder / "open_clip_model.safetensors"))
    assert file.sha256 == loaded.sha256 == load_backbone("hub", str(folder)).sha256
    assert file.preprocess == loaded.preprocess


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_a_transformers_folder(tmp_path: Path, act: str) -> None:
    source = made(act == "quick_gelu")
    folder = transformers_folder(tmp_path / "hub", source, act)
    for name in (NAME, "hub"):
        loaded = load_backbone(name, str(folder))
        assert_equal(loaded.clip, source)
        assert loaded.preprocess.mean == (0.1, 0.2, 0.3)
        assert loaded.preprocess.resize is not None
    assert (
        loaded.sha256
        == load_backbone(NAME, str(open_clip_folder(tmp_path / "o", source, quick_gelu=act != "gelu"))).sha256
    )


def test_positions_of_another_image_size_are_resampled_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = made(image_size=64)
    torch.save(source.state_dict(), tmp_path / "clip.pt")
    with caplog.at_level(logging.WARNING, "maclip"):
        loaded = load_backbone(NAME, str(tmp_path / "clip.pt"))
    assert "8 x 8 patches: they were resampled to 4 x 4, for images of 32 px" in caplog.text
    expected = {"visual.positional_embedding": source.state_dict()["visual.positional_embedding"].clone()}
    open_clip.model.resize_pos_embed(expected, made())
    torch.testing.assert_close(
        loaded.clip.state_dict()["visual.positional_embedding"], expected["visual.positional_embedding"]
    )


def test_the_activation_of_a_bare_file_is_said_chosen_and_found_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = made(quick_gelu=True)
    path = tmp_path / "clip.pt"
    torch.save(source.state_dict(), path)
    with caplog.at_level(logging.WARNING, "maclip"):
        assumed = load_backbone(NAME, str(path))
    assert "GELU is assumed" in caplog.text
    assert "--quick-gelu" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "maclip"):
        chosen = load_backbone(NAME, str(path), quick_gelu=True)
        again = load_backbone(NAME, str(path), expected=chosen.sha256)  # as a run does that was trained on it
    assert not caplog.text
    assert_equal(chosen.clip, source)
    assert_equal(again.clip, source)
    assert again.sha256 == chosen.sha256 != assumed.sha256


def refused(code: str, *args: str) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        load_backbone(*args)
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("visual.transformer.resblocks.0.mlp.c_fc.weight", lambda w: w.T),
        ("visual.conv1.weight", lambda w: w.permute(2, 3, 1, 0)),  # Flax, TensorFlow
        ("visual.conv1.weight", lambda w: w.permute(0, 2, 3, 1)),  # MLX
    ],
)
def test_other_layouts_with_as_many_numbers_are_refused(tmp_path: Path, key: str, change: Any) -> None:
    state = made().state_dict()
    torch.save({**state, key: change(state[key]).contiguous()}, tmp_path / "clip.pt")
    assert key in refused("checkpoint-mismatch", NAME, str(tmp_path / "clip.pt")).message
    scalar = {**state, "logit_scale": state["logit_scale"].reshape(1)}
    torch.save(scalar, tmp_path / "scalar.pt")
    assert_equal(load_backbone(NAME, str(tmp_path / "scalar.pt")).clip, made())


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = made().state_dict()
    state["visual.proj"][0, 0] = torch.nan
    torch.save(state, tmp_path / "clip.pt")
    assert "visual.proj" in refused("checkpoint-unreadable", NAME, str(tmp_path / "clip.pt")).message


def test_folders_that_say_something_else_are_refused(tmp_path: Path) -> None:
    wide = open_clip_folder(tmp_path / "wide", made(), vision_cfg={**VISION, "width": 64})
    assert "width 64" in refused("checkpoint-mismatch", NAME, str(wide)).message
    torn = open_clip_folder(tmp_path / "torn", made())
    (torn / "open_clip_config.json").write_text("{")
    refused("checkpoint-unreadable", NAME, str(torn))
    other = transformers_folder(tmp_path / "other", made(), "gelu")
    (other / "config.json").write_text('{"model_type": "siglip"}')
    assert "siglip" in refused("checkpoint-unreadable", NAME, str(other)).message
    odd = transformers_folder(tmp_path / "odd", made(), "relu")
    assert "relu" in refused("checkpoint-unreadable", NAME, str(odd)).message
    (tmp_path / "empty").mkdir()
    refused("weights-unavailable", NAME, str(tmp_path / "empty"))
    refused("weights-unavailable", "hub", "none")
