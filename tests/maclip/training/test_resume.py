"""Whatever ends a training, going on gives what an uninterrupted one gives, and nothing is lost."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_clip import small_backbone
from small_data import Listener
from test_distributed import rows, run_child
from test_trainer import CPU, MODEL, TRAIN, Silent, small, train

from maclip.training import api, step
from maclip.training.checkpoint import Checkpoint
from maclip.training.optimizer import Optimizer
from maclip_runtime.errors import MaclipError

__all__ = ["small"]  # the fixture that gives every test here the small backbone


def assert_same(run: Path, whole: Path) -> None:
    for name in ("adapters.safetensors", "state/last.safetensors"):
        a, b = load_file(run / name), load_file(whole / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in b)
    assert rows(run) == rows(whole)


def test_a_training_killed_again_and_again_ends_as_if_it_had_not_been(drawn_data, tmp_path):
    changes = {"episodes": 16, "prototype_episodes": 12, "validations": 3, "views": 1}
    said, _ = run_child(
        drawn_data,
        tmp_path,
        {"run": "whole", "changes": changes, "kills": 0},
        {"run": "killed", "changes": changes, "kills": 3, "machine": {"save_seconds": 0.0}},
    )
    assert [record["status"] for record in said] == [0, *[signal.SIGKILL] * 3, 0]
    assert_same(tmp_path / "killed", tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.tmp"))


class Stopping(Silent):
    """Interrupts in the `stop_at`th validation."""

    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self.stop_at = stop_at

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        super().validated(stage, episode, accuracy, interval)
        if len(self.validations) == self.stop_at:
            raise KeyboardInterrupt


def test_a_validation_that_was_interrupted_is_made_up_for(drawn_data, tmp_path):
    short = {"prototype_episodes": 0, "validations": 2}
    train(drawn_data, tmp_path / "whole", **short)
    for stop_at, name in ((1, "first"), (2, "last")):
        with pytest.raises(KeyboardInterrupt):
            train(drawn_data, tmp_path / name, Stopping(stop_at), **short)
        api.resume(tmp_path / name, callbacks=Silent(), machine=CPU)
        assert_same(tmp_path / name, tmp_path / "whole")


def test_an_update_that_was_cut_in_its_middle_is_not_saved(drawn_data, tmp_path, monkeypatch):
    short = {"prototype_episodes": 0, "validations": 2}
    train(drawn_data, tmp_path / "whole", **short)
    update, calls = Optimizer.update, []

    def cut(self, episodes, rate):
        update(self, episodes, rate)
        calls.append(episodes)
        if len(calls) == 3:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait

    with monkeypatch.context() as patched:
        patched.setattr(Optimizer, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            train(drawn_data, tmp_path / "cut", **short)
    api.resume(tmp_path / "cut", callbacks=Silent(), machine=CPU)
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_going_on_with_other_clips_is_spoken_of_once(drawn_data, tmp_path):
    data = tmp_path / "data"
    for folder in sorted(path for path in drawn_data.iterdir() if path.is_dir())[: TRAIN.episode.way]:
        shutil.copytree(folder, data / folder.name)
    train(data, tmp_path / "run", prototype_episodes=0, episodes=2)

    def spoken_of() -> list[str]:
        callbacks = Listener()
        api.resume(tmp_path / "run", callbacks=callbacks, machine=CPU)
        return [note for note in callbacks.notes if "was started" in note]

    assert spoken_of() == []
    with next(data.rglob("*.mp4")).open("ab") as clip:
        clip.write(b"more")
    (note,) = spoken_of()
    assert str(data) in note
    assert "its episodes change" in note
    assert spoken_of() == []  # it went on with these


class Filling(Silent):
    """After `stop_after` updates no file may grow beyond a few kilobytes, as on a full disk."""

    def step(self, step) -> None:
        self.steps.append(step)
        if len(self.steps) == self.stop_after:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("stop_after", [3, 4])  # the state does not fit; the adapters do not fit
def test_a_full_disk_leaves_the_previous_state_whole(drawn_data, tmp_path, monkeypatch, stop_after):
    if stop_after == 3:  # validation keeps the adapters it has, so that the state's file is the first that fails
        monkeypatch.setattr("maclip.training.trainer.write_adapters", lambda path, model: None)
    short = {"prototype_episodes": 0, "validations": 2}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(MaclipError) as caught:
            train(drawn_data, tmp_path / "run", Filling(stop_after), **short)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    monkeypatch.undo()
    assert caught.value.code == "output-unwritable"
    assert "Free disk space" in caught.value.fix
    saved = Checkpoint(tmp_path / "run", None).load()
    assert saved is not None
    assert saved.progress.episode == 4  # of the first validation
    assert not list((tmp_path / "run").rglob(".*.tmp"))


def test_gradients_that_are_not_finite_stop_before_they_spoil_the_weights(drawn_data, tmp_path, monkeypatch):
    real, calls = step.episode_loss, []

    def steep(*args: object):
        calls.extend([1] if torch.is_grad_enabled() else [])  # of what is learnt, not of what is only tried
        loss = real(*args)
        return loss + (loss - loss).sqrt() if len(calls) == 6 else loss  # the root's slope at 0 is not finite

    monkeypatch.setattr(step, "episode_loss", steep)
    with pytest.raises(MaclipError) as caught:
        train(drawn_data, tmp_path / "run", prototype_episodes=0, validations=1)
    assert caught.value.code == "loss-not-finite"
    assert "gradients of joint episodes 4 to 5" in caught.value.message
    assert "Clips: " in caught.value.message
    monkeypatch.undo()


def test_a_checkpoint_that_is_torn_is_refused(drawn_data, tmp_path):
    train(drawn_data, tmp_path / "run", prototype_episodes=0, episodes=2)
    (tmp_path / "run" / "state" / "last.safetensors").write_bytes(b"torn")
    with pytest.raises(MaclipError) as caught:
        api.resume(tmp_path / "run", callbacks=Silent(), machine=CPU)
    assert caught.value.code == "run-invalid"


def test_tensorboard_has_every_episode_once_after_a_resume(drawn_data, tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    machine = CPU.changed(tensorboard=True)
    config = TRAIN.changed(prototype_episodes=4)
    with monkeypatch.context() as patched:
        # As after a kill, the state is of an earlier moment: that of the first part's end.
        saves = iter([Checkpoint.save] * 2)
        patched.setattr(Checkpoint, "save", lambda self: next(saves, lambda self: None)(self))
        with pytest.raises(KeyboardInterrupt):
            api.train_new(
                drawn_data, tmp_path / "run", "small", "none", MODEL, config, callbacks=Silent(4), machine=machine
            )
    api.resume(tmp_path / "run", machine=machine)
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    names = ("loss", "accuracy", "learning_rate", "episodes_per_second", "validation")
    assert set(found.Tags()["scalars"]) == {f"{stage}/{name}" for stage in ("prototype", "joint") for name in names}
    written = [row for row in rows(tmp_path / "run") if row.get("stage") == "joint" and "loss" in row]
    scalars = found.Scalars("joint/loss")
    assert [scalar.step for scalar in scalars] == [4 + row["episode"] for row in written]
    assert [scalar.value for scalar in scalars] == pytest.approx([row["loss"] for row in written])


def test_without_tensorboard_training_does_not_begin(drawn_data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MaclipError) as caught:
        api.train_new(
            drawn_data, tmp_path / "run", "small", "none", MODEL, TRAIN, machine=CPU.changed(tensorboard=True)
        )
    assert (caught.value.code, caught.value.exit_code) == ("tensorboard-missing", 3)
    assert not (tmp_path / "run").exists()
    assert json.dumps(caught.value.fix).count("pip install") == 1


@pytest.mark.parametrize(("save_seconds", "few"), [(0.0, 1), (1e9, 3)])  # saved by the clock, and at validations
def test_weights_that_a_step_spoilt_take_no_good_states_place(drawn_data, tmp_path, monkeypatch, save_seconds, few):
    """The step after the fifth update is far too long: what comes of it is no number, and neither kept nor chosen."""
    real = Optimizer.update

    def leaping(self: Optimizer, episodes: range, rate: float) -> None:
        real(self, episodes, 1e30 if episodes.stop == 10 else rate)

    monkeypatch.setattr(Optimizer, "update", leaping)
    told = {"loss": "joint episode 10 is nan", "validation": "After joint episode 10 the loss became NaN"}
    told["without validation"] = told["validation"]
    unsplit = tmp_path / "unsplit"
    unsplit.mkdir()
    for folder in (path for path in sorted(drawn_data.iterdir())[:6] if path.is_dir()):
        (unsplit / folder.name).symlink_to(folder)
    for name, validations in (("loss", few), ("validation", 6), ("without validation", 6)):
        run, data = tmp_path / name, unsplit if name == "without validation" else drawn_data
        config = TRAIN.changed(prototype_episodes=0, episodes=12, accumulate=2, validations=validations)
        machine = CPU.changed(save_seconds=save_seconds)
        with pytest.raises(MaclipError, match=told[name]):
            api.train_new(data, run, "small", "none", MODEL, config, machine=machine)
        saved = Checkpoint(run, None).load()
        assert saved is not None
        assert saved.progress.episode == 8
        kept = [load_file(path) for path in run.glob("adapters.safetensors")]
        assert bool(kept) is (validations > 1)
        for state in (saved.weights, *kept):
            assert max(float(value.abs().max()) for value in state.values()) < 1e3
    monkeypatch.undo()
    monkeypatch.setattr(api, "load_backbone", lambda name, pretrained, **_: small_backbone())
    assert (
        api.resume(tmp_path / "loss", callbacks=Silent(), machine=CPU).checkpoint is not None
    )  # it goes on from there
