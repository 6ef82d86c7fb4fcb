"""Weights from files, under open_clip's names and OpenAI's, and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from small_clip import TEXT, VISION

from maclip.backbones.loading import load_backbone, state_sha256
from maclip_runtime.errors import MaclipError

NAME = "ViT-maclip-test"


@pytest.fixture(scope="module", autouse=True)
def small_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make a small ViT known to open_clip by name."""
    path = tmp_path_factory.mktemp("configs") / f"{NAME}.json"
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": VISION, "text_cfg": {**TEXT, "vocab_size": 49408}}))
    open_clip.add_model_config(path)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    clip = open_clip.create_model(NAME)
    return {key: torch.randn_like(value) for key, value in clip.state_dict().items()}


def refused(name: str, pretrained: str, code: str) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        load_backbone(name, pretrained)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("form", ["safetensors", "state_dict", "training", "data_parallel", "custom_text"])
def test_every_common_form_of_checkpoint_loads(tmp_path: Path, state, form):
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "training":
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    elif form == "data_parallel":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    elif form == "custom_text":
        visual = ("visual.", "logit_scale")
        torch.save({k if k.startswith(visual) else f"text.{k}": v for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    loaded = load_backbone(NAME, str(path))
    for key, value in loaded.clip.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert not any(parameter.requires_grad for parameter in loaded.clip.parameters())


def test_openai_weights_load_from_half_precision_and_bring_quick_gelu(tmp_path: Path, state):
    extras = {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(16),
        "vocab_size": torch.tensor(49408),
    }
    path = tmp_path / "openai.pt"
    torch.save({key: value.half() for key, value in state.items()} | extras, path)
    loaded = load_backbone(NAME, str(path))
    block = loaded.clip.visual.transformer.resblocks[0]
    assert type(block.mlp.gelu).__name__ == "QuickGELU"
    assert torch.equal(loaded.clip.visual.proj, state["visual.proj"].half().float())
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "plain.pt")
    plain = load_backbone(NAME, str(tmp_path / "plain.pt"))
    assert type(plain.clip.visual.transformer.resblocks[0].mlp.gelu).__name__ == "GELU"
    assert plain.sha256 == state_sha256(loaded.clip.state_dict()) != loaded.sha256  # one set of weights, two models


def test_openais_own_archive_format_loads(tmp_path: Path, state):
    class Holder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = open_clip.create_model(NAME).visual
            self.logit_scale = torch.nn.Parameter(torch.ones([]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    torch.jit.trace(Holder(), torch.zeros(1)).save(str(tmp_path / "archive.pt"))
    # It is read; that it lacks the text tower is then said as for any other checkpoint.
    refused(NAME, str(tmp_path / "archive.pt"), "checkpoint-mismatch")


def test_the_digest_follows_the_weights_not_the_file(tmp_path: Path, state):
    save_file(state, tmp_path / "a.safetensors")
    torch.save(dict(reversed(state.items())), tmp_path / "b.pt")
    first = load_backbone(NAME, str(tmp_path / "a.safetensors")).sha256
    assert load_backbone(NAME, str(tmp_path / "b.pt")).sha256 == first
    state["visual.proj"][0, 0] += 1
    save_file(state, tmp_path / "c.safetensors")
    assert load_backbone(NAME, str(tmp_path / "c.safetensors")).sha256 != first


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    digests = {load_backbone(NAME, "none").sha256 for _ in range(2)}
    assert len(digests) == 1
    assert torch.equal(torch.rand(1), expected)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, state):
    torch.save({**state, "visual.proj": torch.zeros(32, 24)}, tmp_path / "wide.pt")
    assert "visual.proj" in refused(NAME, str(tmp_path / "wide.pt"), "checkpoint-mismatch").message
    del state["visual.conv1.weight"]
    torch.save(state, tmp_path / "less.pt")
    refused(NAME, str(tmp_path / "less.pt"), "checkpoint-mismatch")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    refused(NAME, str(path), "checkpoint-unreadable")


def test_pickled_code_is_never_run(tmp_path: Path):
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (ran,))

    torch.save({"weights": Bomb()}, tmp_path / "bomb.pt")
    refused(NAME, str(tmp_path / "bomb.pt"), "checkpoint-unreadable")
    assert not ran.exists()


def test_names_that_are_not_there_are_refused_with_those_that_are():
    assert "ViT-B-32" in refused("ViT-B-23", "none", "backbone-unknown").fix
    assert "openai" in refused("ViT-B-32", "no-such-tag", "weights-unavailable").fix
    refused("swin_base_patch4_window7_224", "none", "backbone-unsupported")


def test_weights_that_cannot_be_downloaded_say_so(monkeypatch):
    def no_network(*args: object, **kwargs: object) -> str:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", no_network)
    assert "--pretrained FILE" in refused("ViT-B-32", "openai", "weights-unavailable").fix
