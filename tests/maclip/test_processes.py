"""Several processes train as one does, and end together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training import MODEL, TRAIN, Silent, small, train

from maclip import launch
from maclip.processes import Machine, start_team
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
    assert "in learn" in stderr or "in failing" in stderr  # where, for whoever must repair it
    assert [row["episode"] for row in rows(tmp_path / "failed") if "loss" in row] == [2, 4]
    assert (tmp_path / "failed" / "state" / "last.safetensors").is_file()

    notes: list[str] = []
    watcher = Silent()
    watcher.note = notes.append  # type: ignore[method-assign]
    config = replace(TRAIN, **UNCACHED)  # type: ignore[arg-type]
    machine = Machine(max_broken=0.9)
    launch.train(broken, tmp_path / "b", "small", "none", MODEL, config, watcher, "cpu", machine=machine)
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


def refused(code: str, machine: Machine, precision: str = "32") -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        start_team(machine, precision)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


def test_what_a_machine_cannot_do_is_refused(drawn_data, tmp_path, monkeypatch):
    refused("option-invalid", Machine("cpu", devices=0))
    refused("option-invalid", Machine("cpu", workers=0))
    refused("option-invalid", Machine("tpu"))
    refused("option-invalid", Machine("cpu"), "8")
    refused("option-invalid", Machine("cpu"), "fp16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert refused("device-missing", Machine("cuda", devices=2)).exit_code == 3
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert refused("training-missing", Machine("cpu")).exit_code == 3
