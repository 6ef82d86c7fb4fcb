"""Checkpoints and folders that cannot be used are refused with the reason, before a picture or a name meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_public_checkpoints import (
    CONFIG,
    TEXT,
    VISION,
    assert_equal,
    made,
    open_clip_folder,
    to_transformers,
    transformers_folder,
)
from torch import Tensor

from maclip.backbones.loading import load_backbone
from maclip_runtime.errors import MaclipError

State = dict[str, Tensor]


def refused(code: str, *args: Any) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        load_backbone(*args)
    assert caught.value.code == code
    return caught.value


def each(change: Callable[[Tensor], Any]) -> Callable[[State], Any]:
    return lambda state: {key: change(value) for key, value in state.items()}


NO_WEIGHTS: dict[str, tuple[str, Callable[[State], Any]]] = {
    "empty": ("checkpoint-mismatch", each(lambda value: value[:0] if value.ndim else value)),
    "meta": ("checkpoint-unreadable", each(lambda value: value.to("meta"))),
    "sparse": ("checkpoint-unreadable", each(lambda value: value.to_sparse() if value.ndim == 2 else value)),
    "quantized": ("checkpoint-unreadable", each(lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8))),
    "whole numbers": ("checkpoint-mismatch", each(lambda value: (100 * value).to(torch.int8))),
    "truth values": ("checkpoint-mismatch", each(lambda value: value > 0)),
    "complex": ("checkpoint-mismatch", each(lambda value: value.to(torch.complex64))),
    "numbered": ("checkpoint-unreadable", lambda state: dict(enumerate(state.values()))),
    "tuples": ("checkpoint-unreadable", lambda state: {(key,): value for key, value in state.items()}),
    "two CLIPs": (
        "checkpoint-mismatch",
        lambda state: {f"{who}.{key}": value for who in ("student", "teacher") for key, value in state.items()},
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_tensors_that_are_no_weights_are_refused(tmp_path: Path, kind: str) -> None:
    code, change = NO_WEIGHTS[kind]
    folder = open_clip_folder(tmp_path / "hub", made())
    torch.save(change(made().state_dict()), folder / "open_clip_pytorch_model.bin")
    refused(code, "hub", str(folder / "open_clip_pytorch_model.bin"))


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path: Path) -> None:
    nested: dict[str, Any] = {}
    nested["model"] = nested
    folder = open_clip_folder(tmp_path / "hub", made())
    torch.save(nested, folder / "open_clip_pytorch_model.bin")
    refused("checkpoint-unreadable", "hub", str(folder / "open_clip_pytorch_model.bin"))


@pytest.mark.parametrize(
    "changes",
    [
        {"vision_cfg": None},
        {"text_cfg": "x"},
        {"quick_gelu": "yes"},
        {"vision_cfg": {**VISION, "patch_size": 0}},
        {"vision_cfg": {**VISION, "head_width": 0}},
        {"vision_cfg": {**VISION, "width": -4}},
        {"vision_cfg": {**VISION, "layers": 1.5}},
        {"vision_cfg": {**VISION, "nonsense": 3}},
        {"text_cfg": {**TEXT, "context_length": 0}},
        {"text_cfg": {**TEXT, "vocab_size": 100}},
        {"text_cfg": {**TEXT, "embed_cls": True}},
    ],
)
def test_configurations_that_build_no_model_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    refused("checkpoint-unreadable", "hub", str(open_clip_folder(tmp_path / "hub", made(), **changes)))


def test_pictures_that_are_not_square_are_refused(tmp_path: Path) -> None:
    folder = open_clip_folder(tmp_path / "hub", made(), vision_cfg={**VISION, "image_size": [32, 40]})
    assert "not square" in refused("backbone-unsupported", "hub", str(folder)).message


@pytest.mark.parametrize(
    "view",
    [
        {"mean": [0.1, 0.2]},
        {"mean": "abc"},
        {"mean": ["nan", 0, 0]},
        {"mean": [1e308, 0, 0]},
        {"std": [0, 1, 1]},
        {"std": [-1, 1, 1]},
        {"resize_mode": "longest"},
    ],
)
def test_pixels_that_cannot_be_scaled_so_are_refused(tmp_path: Path, view: dict[str, Any]) -> None:
    folder = open_clip_folder(tmp_path / "hub", made())
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": view}))
    refused("checkpoint-unreadable", "hub", str(folder))


def test_what_a_folder_leaves_open_or_gives_as_one_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = open_clip_folder(tmp_path / "hub", made())
    view = {"mean": 0.5, "std": None, "resize_mode": None, "interpolation": "bilinear"}
    text = json.dumps({"model_cfg": CONFIG, "preprocess_cfg": view})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8-sig")
    preprocess = load_backbone("hub", folder).preprocess
    assert preprocess.mean == (0.5, 0.5, 0.5)
    assert preprocess.resize is not None
    assert "bilinear" in caplog.text


def test_a_transformers_folder_in_several_files_with_its_own_epsilon(tmp_path: Path) -> None:
    clip = made()
    for module in clip.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 0.1
    folder = transformers_folder(tmp_path / "hub", clip, "gelu")
    config = json.loads((folder / "config.json").read_text())
    for part in ("vision_config", "text_config"):
        config[part]["layer_norm_eps"] = 0.1
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "image_mean": [9, 9, 9]}))
    (folder / "model.safetensors").unlink()
    state = to_transformers(clip.state_dict())
    files = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(state)}
    for name in set(files.values()):
        save_file({key: value for key, value in state.items() if files[key] == name}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    loaded = load_backbone("hub", folder)
    assert_equal(loaded.clip, clip)
    assert (loaded.preprocess.mean, loaded.preprocess.std) == ((0, 0, 0), (1, 1, 1))
    for broken in (
        {**files, "more": files["logit_scale"]},
        {"logit_scale": "../x.safetensors"},
        {"logit_scale": 3},
        [],
    ):
        index.write_text(json.dumps({"weight_map": broken}))
        refused("checkpoint-unreadable", "hub", str(folder))


@pytest.mark.parametrize("value", [None, 3, b"x", []])
def test_what_is_no_name_and_no_path_is_refused(value: Any) -> None:
    refused("option-invalid", "tiny", value)
    refused("option-invalid", value, "none")


def test_what_cannot_be_a_path_does_not_exist() -> None:
    for path in ("x" * 5000, "a\0b", ""):
        refused("weights-unavailable", "hub", path)
