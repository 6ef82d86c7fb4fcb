"""`maclip backbones`: what it lists, what it gives as reasons, and that both fit a terminal."""

from __future__ import annotations

import json

import open_clip
import pytest
from typer.testing import CliRunner

from maclip_cli.workstation.app import app

UNFIT = ["swin_base_patch4_window7_224", "ViTamin-XL-384"]
NAMES = ["ViT-B-32", "RN50", "ViT-B-16-SigLIP2", *UNFIT, "nllb-clip-base"]


def listed(monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    monkeypatch.setattr(open_clip, "list_models", lambda: NAMES)
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, ["backbones", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_works_is_listed_whole_with_its_figures(monkeypatch: pytest.MonkeyPatch):
    lines = [line.split() for line in listed(monkeypatch).splitlines()]
    assert ["ViT-B-32", "224", "12", "50", "512", "class", "both", "own"] in lines
    assert ["ViT-B-16-SigLIP2", "224", "12", "196", "768", "mean", "both", "tokenizer"] in lines
    assert ["nllb-clip-base", "224", "12", "50", "512", "class", "both", "encoder"] in lines
    assert ["RN50", "224", "9", "49", "1024", "mean", "ladder", "own"] in lines
    assert not any(line and line[0] in UNFIT for line in lines)


def test_the_others_are_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    found = listed(monkeypatch, "--refused")
    assert "SwinTransformer" in found
    assert "ViTamin-XL-384" in found
    assert "ViT-B-32" not in found


def test_json_holds_all_with_the_weights_that_there_are(monkeypatch: pytest.MonkeyPatch):
    rows = {row["name"]: row for row in json.loads(listed(monkeypatch, "--json"))}
    assert list(rows) == NAMES
    assert "openai" in rows["ViT-B-32"]["tags"]
    assert [name for name in NAMES if rows[name]["problem"]] == UNFIT
