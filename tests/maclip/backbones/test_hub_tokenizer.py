"""Backbones whose tokenizer and preparation of frames come from a model hub: with its folder, and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import maclip
from maclip.backbones import hub_tokenizer
from maclip.backbones.loading import load_backbone
from maclip_runtime.errors import MaclipError

NAME = "ViT-maclip-hub-test"
WORDS = {"<pad>": 0, "</s>": 1, "a": 2, "photo": 3, "of": 4, "waving": 5, "?": 6}
LENGTH = 8
VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 8}
TEXT = {
    "context_length": LENGTH, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1, "no_causal_mask": True,
    "pool_type": "last", "proj_bias": True, "hf_tokenizer_name": "nobody/nothing",
    "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip
SIGLIP = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"}


@pytest.fixture(scope="module", autouse=True)
def named(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A small model with SigLIP's kind of text tower, known to open_clip by name; and one with CLIPA's tokens."""
    folder = tmp_path_factory.mktemp("configs")
    strip = {**TEXT, "tokenizer_kwargs": {"clean": "whitespace", "strip_sep_token": True}}
    for name, text in ((NAME, TEXT), (f"{NAME}-strip", strip)):
        config = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text, "custom_text": True, "init_logit_bias": -10}
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(source: str) -> Path:
        raise OSError(f"no route to {source}")

    monkeypatch.setattr(hub_tokenizer, "_download", unreachable)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder as a hub has it."""
    torch.manual_seed(1)
    save_file(open_clip.create_model(NAME).state_dict(), tmp_path / "open_clip_model.safetensors")
    made = Tokenizer(models.WordLevel(WORDS, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.save(str(tmp_path / "tokenizer.json"))
    config: dict[str, Any] = {"pad_token": {"content": "<pad>"}, "sep_token": "</s>", "padding_side": "right"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": SIGLIP}))
    return tmp_path


def test_a_hubs_folder_gives_weights_tokens_and_preparation(folder: Path):
    model = maclip.build(NAME, str(folder), adapters="blocks", adapted_depth=1)
    prepared = model.backbone.preprocess
    assert (prepared.resize, prepared.mean, prepared.std) == (None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    tokens = model.backbone.tokenizer(["A photo of WAVING!", "of " * 20])
    assert tokens.tolist() == [[2, 3, 4, 5, 1, 0, 0, 0], [4] * 7 + [1]]
    # The tower sees the padding and reads its feature off the last column: nothing may be cut.
    with torch.no_grad():
        expected = model.clip.encode_text(torch.tensor([[2, 3, 4, 5, 1, 0, 0, 0]]), normalize=True)
        short = model.clip.encode_text(torch.tensor([[2, 3, 4, 5, 1]]), normalize=True)
    torch.testing.assert_close(model.encode_names(["waving"]), expected)
    assert (short - expected).abs().max() > 0.01


def test_the_file_in_that_folder_serves_as_well(folder: Path):
    weights = load_backbone(NAME, str(folder / "open_clip_model.safetensors"))
    assert weights.sha256 == load_backbone(NAME, str(folder)).sha256
    assert weights.preprocess.resize is None
    assert weights.tokenizer(["waving"]).tolist() == [[5, 1, 0, 0, 0, 0, 0, 0]]


def test_a_tokenizer_that_loses_its_separators_loses_them_here_too(folder: Path):
    tokens = load_backbone(f"{NAME}-strip", str(folder)).tokenizer(["a photo"])
    assert tokens.tolist() == [[2, 3, 0, 0, 0, 0, 0, 0]]


def test_without_its_tokenizer_a_model_takes_clips_and_refuses_names():
    model = maclip.build(NAME, "none", adapters="blocks", adapted_depth=1)
    frames = torch.zeros(1, 8, 32, 32, 3, dtype=torch.uint8)
    with torch.no_grad():
        assert model.prototypes(model.features(frames)).shape == (1, 8, 16)
    assert model.encode_names([]).shape == (0, 16)
    with pytest.raises(MaclipError) as caught:
        model.encode_names(["waving"])
    assert caught.value.code == "tokenizer-unavailable"
    assert "nobody/nothing" in caught.value.message
    assert "--pretrained FOLDER" in caught.value.fix


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "{}"),
        ("tokenizer_config.json", '{"pad_token": "<other>"}'),
    ],
)
def test_a_broken_tokenizer_is_refused(folder: Path, file, text):
    (folder / file).write_text(text)
    with pytest.raises(MaclipError) as caught:
        load_backbone(NAME, str(folder)).tokenizer(["waving"])
    assert caught.value.code == "tokenizer-unavailable"


@pytest.mark.parametrize("broken", ["[]", "{", '{"preprocess_cfg": 3}'])
def test_a_broken_folder_is_refused(folder: Path, broken):
    (folder / "open_clip_config.json").write_text(broken)
    with pytest.raises(MaclipError) as caught:
        load_backbone(NAME, str(folder))
    assert caught.value.code == "checkpoint-unreadable"
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(MaclipError) as caught:
        load_backbone(NAME, str(folder))
    assert caught.value.code == "weights-unavailable"
    assert "open_clip_model.safetensors" in caught.value.message


@pytest.mark.parametrize("second", ["squash", "shortest"])
def test_weights_that_say_nothing_are_seen_as_their_names_tags_agree(monkeypatch, second):
    tags = {"one": SIGLIP, "two": {**SIGLIP, "resize_mode": second}}
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: list(tags))
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: tags[tag])
    found = load_backbone(NAME, "none").preprocess
    agreed = second == "squash"
    assert (found.resize is None, found.mean == (0.5, 0.5, 0.5)) == (agreed, agreed)
