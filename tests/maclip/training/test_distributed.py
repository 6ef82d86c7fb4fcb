"""Several processes train as one does, and end together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from test_trainer import CPU, MODEL, TRAIN, Silent, small, train

from maclip.config import Machine
from maclip.data.dataset import open_folders
from maclip.training import api
from maclip.training.distributed import Team, _communication, start_team
from maclip.training.trainer import Trainer
from maclip_runtime.errors import MaclipError

__all__ = ["small"]  # the fixture that gives every test here the small backbone

CHILD = Path(__file__).with_name("train_child.py")
# Without the first stage, in which each process reads every clip.
UNCACHED = {"episodes": 6, "prototype_episodes": 0, "accumulate": 2, "validations": 1, "cache": "none"}
SHORT = {"episodes": 9, "prototype_episodes": 6, "accumulate": 3, "validations": 2}


def run_child(data: Path, folder: Path, *jobs: dict[str, object]) -> tuple[list[dict[str, object]], str]:
    """What the jobs said, a record each, and what went to stderr."""
    done = subprocess.run(
        [sys.executable, str(CHILD), str(data), str(folder), json.dumps(jobs)],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # the tests' own modules
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


def rows(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_learn_what_one_learns_and_a_failure_in_one_ends_both(drawn_data, tmp_path):
    two = {"devices": 2}
    broken = shutil.copytree(drawn_data, tmp_path / "broken")
    for folder in sorted(path for path in broken.iterdir() if path.is_dir()):
        sorted(folder.glob("*.mp4"))[0].write_bytes(b"")
    said, stderr = run_child(
        drawn_data,
        tmp_path,
        {
            "run": "failed",
            "changes": {"episodes": 8, "prototype_episodes": 0},
            "machine": two,
            "fail_at": 5,
            "lag": 3.0,
        },
        {"run": "two", "changes": SHORT, "machine": two},
        {"run": "lenient", "data": str(broken), "changes": UNCACHED, "machine": {**two, "max_broken": 0.9}},
        {"run": "strict", "data": str(broken), "changes": UNCACHED, "machine": two},
    )
    assert [record["code"] for record in said if "code" in record] == ["process-failed", "data-broken"]
    assert "Process 1 failed: ValueError: broken on purpose" in str(said[0]["message"])
    assert "in accumulate" in stderr or "in failing" in stderr  # where, for whoever must repair it
    assert [row["episode"] for row in rows(tmp_path / "failed") if "loss" in row] == [2, 4]
    assert (tmp_path / "failed" / "state" / "last.safetensors").is_file()

    notes: list[str] = []
    callbacks = Silent()
    callbacks.note = notes.append  # type: ignore[method-assign]
    config = TRAIN.changed(**UNCACHED)
    machine = CPU.changed(max_broken=0.9)
    api.train_new(broken, tmp_path / "b", "small", "none", MODEL, config, callbacks=callbacks, machine=machine)
    assert next(record["skipped"] for record in said if "skipped" in record) in notes  # all that both met

    train(drawn_data, tmp_path / "one", **SHORT)
    one, other = (load_file(tmp_path / run / "state" / "last.safetensors") for run in ("one", "two"))
    assert one.keys() == other.keys()
    for key, value in one.items():
        pair = [other[key], value]
        if key.endswith("in_proj_bias"):
            # Without the keys': a softmax takes them out, so their gradient is rounding alone and Adam makes it large.
            pair = [bias.unflatten(0, (3, -1))[[0, 2]] for bias in pair]
        torch.testing.assert_close(*pair, rtol=1e-4, atol=2e-6)
    for a, b in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        for key in a.keys() & {"loss", "accuracy", "learning_rate"}:
            assert b[key] == pytest.approx(a[key], rel=1e-4)


def test_processes_end_with_their_parent_however_it_ends(drawn_data, tmp_path):
    jobs = [{"run": "hanging", "hang": True, "machine": {"devices": 2}}]
    parent = subprocess.Popen(
        [sys.executable, str(CHILD), str(drawn_data), str(tmp_path), json.dumps(jobs)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    with parent:
        assert parent.stdout is not None
        # torch 2.9 also prints which processes are connected.
        child = json.loads(next(line for line in parent.stdout if line.startswith("{")))["waits"]
        parent.kill()
        try:
            parent.communicate(timeout=60)  # until the child, which has the same output, has ended too
        except subprocess.TimeoutExpired:
            os.kill(child, signal.SIGKILL)
            pytest.fail("the child outlives its parent")


def team_of(size: int) -> Team:
    """The first of `size` processes, of which there are no others."""
    fabric = SimpleNamespace(global_rank=0, world_size=size, device="cpu", broadcast=lambda value: value)
    return Team(fabric)  # type: ignore[arg-type]


def parameter(gradient: list[float] | None) -> torch.Tensor:
    found = torch.nn.Parameter(torch.ones(2, 1))
    found.grad = None if gradient is None else torch.tensor(gradient)[:, None]
    return found


def test_gradients_of_processes_are_added_and_where_none_has_one_none_stays(monkeypatch):
    told: list[torch.Tensor] = []
    own = [parameter(gradient) for gradient in ([0.25, -0.5], None, [0.125, 0.0], None)]
    others = [parameter(gradient) for gradient in ([0.5, 1.0], [0.75, 0.0], None, None)]
    monkeypatch.setattr(dist, "all_reduce", lambda flat: told.append(flat.clone()))
    team_of(2).add_gradients(others)
    monkeypatch.setattr(dist, "all_reduce", lambda flat: flat.add_(told[0]))  # as with a process that has the others
    team_of(2).add_gradients(own)
    summed = [None if p.grad is None else p.grad.flatten().tolist() for p in own]
    assert summed == [[0.75, 0.5], [0.75, 0.0], [0.125, 0.0], None]
    assert all(p.grad.shape == p.shape for p in own if p.grad is not None)


def test_an_update_has_an_episode_for_each_process(drawn_data, tmp_path, make_model):
    def begin(accumulate: int) -> Trainer:
        model, data = make_model(adapted_depth=1), open_folders(drawn_data)
        config = api.new_run_config(model, TRAIN.changed(accumulate=accumulate), data)
        return Trainer(model, data, config, tmp_path / "run", team=team_of(3))

    with pytest.raises(MaclipError, match="2 episodes leaves some of 3 processes idle") as caught:
        begin(2)
    assert caught.value.code == "option-invalid"
    assert "3" in caught.value.fix
    assert begin(3).team.size == 3


def refused(code: str, machine: Machine, precision: str = "32") -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        start_team(machine, precision)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


def test_what_a_machine_cannot_do_is_refused(drawn_data, tmp_path, monkeypatch):
    with pytest.raises(MaclipError, match="--precision cannot be '8'"):
        TRAIN.changed(precision="8")
    for wrong in ({"devices": 0}, {"workers": 0}, {"device": "tpu"}):
        with pytest.raises(MaclipError) as caught:
            CPU.changed(**wrong)
        assert caught.value.code == "option-invalid"
    refused("option-invalid", CPU, "fp16")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert "4 cores, not 5" in refused("device-missing", CPU.changed(devices=5)).message
    assert "4 cores, not 999" in refused("device-missing", CPU.changed(devices=999)).message
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert refused("device-missing", Machine(device="cuda", devices=2)).exit_code == 3
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert refused("training-missing", CPU).exit_code == 3


def test_communication_that_breaks_off_means_that_a_process_has_died():
    with pytest.raises(MaclipError) as caught, _communication():
        raise RuntimeError("Connection closed by peer [127.0.0.1]:5000")
    assert (caught.value.code, caught.value.exit_code) == ("process-died", 1)
    assert "--resume" in caught.value.fix
