"""A training may begin with what another run learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from small_clip import small_backbone
from small_data import CPU, MODEL, TRAIN, Listener, small_training, write_classes
from torch import Tensor
from typer.testing import CliRunner

from maclip.config import ModelConfig
from maclip.evaluation.record import read_record
from maclip.runs import Run
from maclip.training import api
from maclip_cli.workstation.app import app
from maclip_runtime.errors import MaclipError

TPCM_ALONE = MODEL.changed(adapters="none", adapted_depth=None)
STILL = TRAIN.changed(prototype_episodes=0, learning_rate=0.0, weight_decay=0.0)  # keeps what it began with


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_training(monkeypatch)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", 3)


@pytest.fixture
def tpcm(data: Path, tmp_path: Path) -> Path:
    """A run of TPCM alone."""
    run = tmp_path / "tpcm"
    config = TRAIN.changed(episodes=0)
    api.train_new(data, run, "small", "none", TPCM_ALONE, config, machine=CPU)
    return run


def tensors(run: Path) -> dict[str, Tensor]:
    return load_file(run / "adapters.safetensors")


def begin(data: Path, run: Path, init: Path, callbacks: Listener | None = None, model=MODEL) -> dict[str, Tensor]:
    api.train_new(data, run, "small", "none", model, STILL, callbacks=callbacks, machine=CPU, init=init)
    return tensors(run)


def test_what_fits_is_begun_with_and_the_rest_is_new(data, tpcm, tmp_path):
    made, given = begin(data, tmp_path / "run", tpcm), tensors(tpcm)
    assert given.keys() < made.keys()
    assert all(made[key].equal(value) for key, value in given.items())
    assert Run.open(tmp_path / "run").config.init.run == str(tpcm.resolve())


def test_what_it_began_with_was_taught_its_classes_too(data, tpcm, tmp_path):
    others = write_classes(tmp_path / "others", 3)
    for folder in sorted(others.iterdir()):
        folder.rename(folder.with_name(f"dark {folder.name}"))
    begin(others, tmp_path / "second", tpcm)
    begin(others, tmp_path / "third", tmp_path / "second")
    names = {"red", "green", "blue"}
    assert set(Run.open(tpcm).config.taught) == names
    for run in ("second", "third"):
        assert set(Run.open(tmp_path / run).config.taught) == names | {f"dark {name}" for name in names}
    args = ["eval", tmp_path / "third", data, "--way", 3, "--episodes", 5, "--json", tmp_path / "r.json"]
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    assert done.exit_code == 0, done.output
    assert "3 of which were also in training" in " ".join(done.output.split())
    assert set(read_record(tmp_path / "r.json").seen_in_training) == names


def test_adapters_that_are_torn_are_refused_by_name(data, tpcm, tmp_path):
    content = (tpcm / "adapters.safetensors").read_bytes()
    (tpcm / "adapters.safetensors").write_bytes(content[:50])
    with pytest.raises(MaclipError) as refused:
        begin(data, tmp_path / "run", tpcm)
    assert refused.value.code == "adapters-mismatch"


def test_one_stopped_before_its_first_state_begins_with_it_too(data, tpcm, tmp_path, monkeypatch):
    monkeypatch.setattr("maclip.training.checkpoint.Checkpoint.save", lambda self: None)  # as if killed
    with pytest.raises(KeyboardInterrupt):
        begin(data, tmp_path / "run", tpcm, Listener(stop_after=1))
    api.resume(tmp_path / "run", machine=CPU)
    assert all(tensors(tmp_path / "run")[key].equal(value) for key, value in tensors(tpcm).items())


def test_another_clip_nothing_in_common_and_changed_adapters_are_refused(data, tpcm, tmp_path, monkeypatch):
    with pytest.raises(MaclipError, match="has no tuned tensor of this model") as refused:
        begin(data, tmp_path / "a", tpcm, model=MODEL.changed(prototype="none"))
    assert refused.value.code == "init-mismatch"
    begin(data, tmp_path / "blocks", tpcm)
    with pytest.raises(
        MaclipError, match="trained with --adapters blocks, this model has --adapters ladder"
    ) as refused:
        begin(data, tmp_path / "d", tmp_path / "blocks", model=ModelConfig.of(frames=4))
    assert refused.value.code == "init-mismatch"
    assert refused.value.fix == "Add --adapters blocks, or train without --init."
    other = replace(small_backbone(), sha256="1" * 64)
    with monkeypatch.context() as patched:
        patched.setattr(api, "load_backbone", lambda name, pretrained, **_: other)
        with pytest.raises(MaclipError, match="another backbone"):
            begin(data, tmp_path / "b", tpcm)
    with pytest.raises(KeyboardInterrupt):
        begin(data, tmp_path / "c", tpcm, Listener(stop_after=1))
    (tpcm / "adapters.safetensors").write_bytes(b"changed")
    with pytest.raises(MaclipError) as refused:
        api.resume(tmp_path / "c", machine=CPU)
    assert refused.value.code == "init-changed"
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "d").exists()
