"""`maclip train --resume` goes on with the run's own options, and says which of those given are not."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from videos import color_video

from maclip.backbones.loading import TINY_DIR
from maclip.config import ModelConfig, TrainConfig
from maclip.data.split_lists import SplitLists
from maclip.runs import RUN_FORMAT, ClassNames, Run, RunConfig, write_config
from maclip_cli.workstation.app import app
from maclip_runtime.bundle.manifest import Backbone
from maclip_runtime.errors import MaclipError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose data is gone, so that going on with it ends there and not earlier."""
    folder = tmp_path / "run"
    backbone = Backbone("tiny", "tiny", "0" * 64)
    model = ModelConfig.of(adapters="blocks", adapted_depth=1, templates=("a {}", "the {}"))
    train = TrainConfig.of(way=4, learning_rate=1e-3)
    write_config(
        folder,
        RunConfig(
            RUN_FORMAT, "0", backbone, model, train, str(tmp_path / "gone"), ClassNames(("a", "b")),
            chosen=None, data_sha256="0" * 64, lists=None, init=None,
        ),
    )  # fmt: skip
    return folder


def outcome(*arguments: object) -> MaclipError:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    assert isinstance(result.exception, MaclipError), result.output
    return result.exception


def test_options_that_differ_are_named_and_nothing_is_touched(run):
    before = run.joinpath("config.json").read_bytes()
    error = outcome(
        run.parent / "other", "--resume", run, "--way", 5, "--learning-rate", 0.001, "--template", "a {}", "--seed", 1
    )
    assert (error.code, error.exit_code) == ("resume-differs", 2)
    assert "--way 5 (the run has 4)" in error.message
    assert "--template a {} (the run has a {}, the {})" in error.message
    assert "--seed 1 (the run has 0)" in error.message
    assert f"DATA {run.parent / 'other'} (the run has {run.parent / 'gone'})" in error.message
    assert "learning-rate" not in error.message  # given, and the same
    assert "adapted-depth" not in error.message  # not given: its default is no wish
    assert run.joinpath("config.json").read_bytes() == before
    assert list(run.iterdir()) == [run / "config.json"]


def test_the_same_options_and_those_of_the_machine_are_taken(run):
    error = outcome(
        run.parent / "gone", "--resume", run, "--out", run, "--way", 4, "--template", "a {}", "--template", "the {}",
        "--device", "cpu", "--workers", 1, "--save-seconds", 5, "--backbone", "tiny",
    )  # fmt: skip
    assert error.code == "weights-changed"  # it went on to begin: the run's weights are made up


def test_names_are_found_from_another_folder(run, tmp_path, monkeypatch):
    lists = SplitLists(str(tmp_path / "lists"), f"{tmp_path / 'names.json'}#small")
    write_config(run, dataclasses.replace(Run.open(run).config, lists=lists))
    for folder, names in ((tmp_path, "names.json#small"), (run, "../names.json#small")):
        monkeypatch.chdir(folder)
        given = ("--lists", tmp_path / "lists", "--class-names", names)
        assert outcome("--resume", run, *given).code == "weights-changed"  # the options are the run's
    assert (
        outcome("--resume", run, "--lists", tmp_path / "lists", "--class-names", "names.json").code == "resume-differs"
    )


def test_a_checkpoint_is_found_from_another_folder_and_may_be_moved(tmp_path, monkeypatch):
    folder = tmp_path / "first"
    for colour in ("red", "green", "blue"):
        (tmp_path / "data" / colour).mkdir(parents=True)
        for clip in ("a", "b"):
            color_video(tmp_path / "data" / colour / f"{clip}.mp4", [(colour, 1.0)], seed=ord(clip))
    (folder / "sub").mkdir(parents=True)
    weights = folder / "w.safetensors"
    shutil.copy(TINY_DIR / "open_clip_model.safetensors", weights)
    monkeypatch.chdir(folder)
    which = ("--out", "run", "--backbone", "tiny", "--pretrained", "w.safetensors")
    few = ("--adapters", "blocks", "--adapted-depth", "1", "--way", "3", "--episodes", "2", "--accumulate", "1")
    done = CliRunner().invoke(app, ["train", "../data", *which, *few])
    assert done.exit_code == 0, done.output
    assert Run.open(folder / "run").config.backbone.pretrained == str(weights)
    monkeypatch.chdir(folder / "sub")
    Run.open(folder / "run").model()
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert outcome("--resume", folder / "run").code == "weights-unavailable"
    done = CliRunner().invoke(app, ["train", "--resume", "../run", "--pretrained", "../../moved.safetensors"])
    assert done.exit_code == 0, done.output
    assert Run.open(folder / "run").config.backbone.pretrained == str(moved)
    assert outcome("--resume", folder / "run", "--pretrained", "none").code == "weights-changed"
