"""Frozen weights that training no longer needs are freed, and it learns the same without them."""

from __future__ import annotations

import pytest
import torch
from test_trainer import small, train

from maclip.model.maclip import MaClip

__all__ = ["small"]  # the fixture that gives every test here the small backbone


def held(module: torch.nn.Module) -> int:
    """Bytes of the weights that are stored."""
    return sum(p.numel() * p.element_size() for p in module.parameters() if not p.is_meta)


@pytest.fixture
def freed(monkeypatch):
    """Models after the trainer freed their weights, with what they held before in bytes."""
    found: list[tuple[MaClip, int]] = []
    free = MaClip.free_frozen

    def noted(self, names, *, stem):
        before = held(self)
        free(self, names, stem=stem)
        found.append((self, before))

    monkeypatch.setattr(MaClip, "free_frozen", noted)
    return found


def test_a_training_on_cached_stems_holds_neither_stem_nor_text_encoder(drawn_data, tmp_path, freed):
    train(drawn_data, tmp_path / "kept", cache="stem")
    ((model, before),) = freed
    text = [p for child in model.clip.children() if child is not model.clip.visual for p in child.parameters()]
    assert text
    assert all(p.is_meta for p in text)
    stem = [p for block in model.image.blocks[: model.tower_start] for p in block.module.parameters()]
    assert stem
    assert all(p.is_meta for p in stem)
    assert not any(p.is_meta for p in model.tuned_parameters())
    assert held(model) == before - 4 * sum(p.numel() for p in stem + text)


def test_freeing_weights_changes_no_number(drawn_data, tmp_path, monkeypatch):
    without = train(drawn_data, tmp_path / "without", cache="stem")
    monkeypatch.setattr(MaClip, "free_frozen", lambda self, names, *, stem: None)
    having = train(drawn_data, tmp_path / "having", cache="stem")
    assert without.steps == having.steps
    assert without.validations == having.validations


def test_without_a_cache_the_stem_stays(drawn_data, tmp_path, freed):
    train(drawn_data, tmp_path / "run", cache="none")
    assert not any(p.is_meta for p in freed[0][0].clip.visual.parameters())


def test_names_that_were_encoded_stay_known(make_model):
    model = make_model(adapted_depth=1)
    train_names, other = ["waving", "jumping"], ["running"]
    before = model.encode_names(train_names), model.encode_names(other)
    model.free_frozen([train_names, other], stem=False)
    assert torch.equal(model.encode_names(train_names[::-1]), before[0].flip(0))
    assert torch.equal(model.encode_names(other), before[1])
    assert model.encode_names([]).shape == (0, model.feature_width)
    with pytest.raises(KeyError, match="sitting"):
        model.encode_names(["sitting"])
