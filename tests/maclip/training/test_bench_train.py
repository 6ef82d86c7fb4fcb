"""`maclip bench-train`: the real trainer in turns, and figures that fit together. No speed is asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_clip import small_backbone
from typer.testing import CliRunner

from maclip.bench import training
from maclip.bench.measure import draw_clips, run_bench
from maclip.bench.plan import Method, Settings, chosen, methods
from maclip.bench.training import Ready, Turn, memory_exhausted, train_in_turns
from maclip.config import Machine, ModelConfig
from maclip.model import maclip as model
from maclip.model.maclip import MaClip
from maclip.training import api
from maclip.training.callbacks import Callbacks, Step
from maclip_cli.workstation.app import app
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring import turns
from maclip_runtime.tools.measuring.child import ChildFailed

SMALL = Settings(backbone="small", frames=4, way=2, episodes=2, rounds=2, depth=1, device="cpu")
TINY = ("--backbone", "tiny", "--adapted-depth", "1", "--frames", "2", "--way", "2", "--episodes", "1")
ALONE = ("--only", "cached", "--threads", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("bench") / "clips"
    draw_clips(data, SMALL)
    return data


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process every backbone is the small one, and a child's body leaves its thread and not the tests."""

    def leave() -> None:
        raise SystemExit

    for module in (api, training):
        monkeypatch.setattr(module, "load_backbone", lambda name, pretrained, **_: small_backbone())
    monkeypatch.setattr(training, "_leave", leave)


def updates(key: str, clips: Path, run: Path, count: int = 2) -> tuple[Ready, list[Turn]]:
    """What a child says of `count` updates, here in a thread of this process."""
    ours, theirs = Pipe()

    def serve() -> None:
        with suppress(SystemExit):
            train_in_turns(theirs, methods(SMALL)[key], SMALL, clips, run)

    body = threading.Thread(target=serve, daemon=True)
    body.start()
    assert ours.poll(30)
    ready = ours.recv()
    turns = []
    for _ in range(count):
        ours.send("update")
        turns.append(ours.recv())
    ours.close()
    body.join(30)
    assert not body.is_alive()
    return ready, turns


def test_a_turn_is_an_update_of_the_training_that_users_run(clips, tmp_path):
    ready, turns = updates("cached", clips, tmp_path / "turns")
    losses = []

    class Losses(Callbacks):
        def step(self, step: Step) -> None:
            losses.append(step.loss)

    method = methods(SMALL)["cached"]
    config = method.train.changed(episodes=6, warmup=0.0)
    api.train_new(
        clips,
        tmp_path / "run",
        "small",
        "none",
        method.model,
        config,
        machine=Machine(device="cpu"),
        callbacks=Losses(),
    )
    assert [turn.loss for turn in turns] == losses[1:]  # the first one warms up
    assert len({turn.loss for turn in turns}) == 2
    assert all(turn.seconds > 0 for turn in turns)
    tokens = small_backbone().clip.visual.positional_embedding.numel()
    assert ready.cache_mib == round(2 * SMALL.clips_a_class * 2 * SMALL.frames * tokens * 2 / 2**20, 1)


def test_each_method_tunes_what_it_is_called(clips, tmp_path, monkeypatch):
    calls = []
    checkpoint = model.checkpoint
    monkeypatch.setattr(model, "checkpoint", lambda *args, **kept: calls.append(1) or checkpoint(*args, **kept))
    adapters = updates("adapters", clips, tmp_path / "a")
    assert not calls
    checkpointed = updates("checkpointed", clips, tmp_path / "c")
    assert calls
    assert [t.loss for t in checkpointed[1]] == pytest.approx([t.loss for t in adapters[1]])  # the same numbers

    def tuned(**choices: Any) -> int:
        config = ModelConfig.of(**{"frames": 4, "adapters": "blocks", **choices})
        return sum(p.numel() for p in MaClip(small_backbone(), config).tuned_parameters())

    assert adapters[0].tuned == checkpointed[0].tuned == tuned()
    assert updates("cached", clips, tmp_path / "k", 0)[0].tuned == tuned(adapters="blocks", adapted_depth=1)
    visual = sum(p.numel() for p in small_backbone().clip.visual.parameters())
    assert updates("full", clips, tmp_path / "f", 0)[0].tuned == visual + tuned(adapters="none")


def test_clips_are_not_decoded_while_it_is_measured(clips, tmp_path, monkeypatch):
    decoded = []
    load = training.ClipStore.load
    monkeypatch.setattr(
        training.ClipStore, "load", lambda self, ids, rng=None: decoded.extend(ids) or load(self, ids, rng)
    )
    updates("adapters", clips, tmp_path / "run", 3)
    assert sorted(decoded) == list(range(2 * SMALL.clips_a_class))


class Scripted:
    """In a child's place: a rate of its own; may fail at its start or at a turn."""

    asked: ClassVar[list[str]] = []
    fails: ClassVar[dict[str, tuple[int, Exception]]] = {}

    def __init__(self, body: object, method: Method, settings: Settings, data: Path, run: Path) -> None:
        self.key, self.turns = run.name, 0
        self.facts = Ready("cpu", 1000, 10, 100.0, 2.0)
        self._fail()

    def turn(self, work: str) -> Turn:
        self.asked.append(self.key)
        self.turns += 1
        self._fail()
        slow, memory = {"full": (4.0, 1100.0), "adapters": (2.0, 850.0), "cached": (1.0, 350.0)}[self.key]
        return Turn(slow * self.turns, 1.0, memory, None)

    def _fail(self) -> None:
        at, error = self.fails.get(self.key, (-1, None))
        if at == self.turns and error is not None:
            raise error

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(turns, "Child", Scripted)
    monkeypatch.setattr(Scripted, "asked", [])
    monkeypatch.setattr(Scripted, "fails", {})
    return Scripted


def test_turns_go_round_and_ratios_are_within_a_round(scripted):
    settings = replace(SMALL, rounds=3)
    result = run_bench(settings, chosen(settings, ("full", "adapters", "cached")))
    assert scripted.asked == ["full", "adapters", "cached"] * 3
    full, adapters, cached = result.rows
    assert (full.episodes_per_second.median, full.episodes_per_second.high) == (0.25, 0.5)  # 2 episodes in 8 and 4 s
    assert [row.ratio.median for row in result.rows] == [1, 2, 4]
    assert adapters.ratio.low == adapters.ratio.high == 2  # each round was slower than the last, for all alike
    assert [row.memory_mib for row in result.rows] == [1000, 750, 250]
    assert [row.memory_ratio for row in result.rows] == [1, 0.75, 0.25]
    assert (cached.cache_mib, cached.peak_mib) == (2, 350)


def test_what_fails_is_a_row_and_the_others_are_measured(scripted, tmp_path):
    scripted.fails.update({"full": (0, memory_exhausted("too much")), "adapters": (1, ChildFailed("it died"))})
    out = tmp_path / "cost.json"
    names = [part for name in ("full", "adapters", "cached") for part in ("--only", name)]
    done = CliRunner().invoke(app, ["bench-train", *TINY, "--rounds", "2", *names, "--json", str(out)])
    assert isinstance(done.exception, MaclipError)
    assert (done.exception.code, done.exception.exit_code) == ("bench-failed", 3)
    full, adapters, cached = json.loads(out.read_text())["rows"]
    assert ("too much" in full["failed"], adapters["failed"]) == (True, "it died")
    assert cached["episodes_per_second"]["median"] > 0
    assert (cached["ratio"], cached["memory_ratio"]) == (None, None)  # nothing to take them to
    assert "it died" in done.output
    assert scripted.asked == ["adapters", "cached", "cached"]


def test_want_of_memory_is_known_as_such(clips, tmp_path, monkeypatch):
    def load(name: str, pretrained: str) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(training, "load_backbone", load)
    with pytest.raises(MaclipError) as refused:
        train_in_turns(Pipe()[0], methods(SMALL)["full"], SMALL, clips, tmp_path)
    assert (refused.value.code, refused.value.exit_code) == ("memory-exhausted", 3)
    monkeypatch.setattr(training, "load_backbone", lambda name, pretrained: [][1])
    with pytest.raises(IndexError):
        train_in_turns(Pipe()[0], methods(SMALL)["full"], SMALL, clips, tmp_path)


def test_bad_options_are_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("maclip.bench.measure.run_bench", lambda *_: pytest.fail("it was measured"))
    for args, code in [
        (("--only", "half"), "option-invalid"),
        (("--json", str(tmp_path / "no" / "where.json")), "output-unwritable"),
        (("--json", str(tmp_path)), "output-unwritable"),
    ]:
        done = CliRunner().invoke(app, ["bench-train", *TINY, *args])
        assert isinstance(done.exception, MaclipError), args
        assert done.exception.code == code


def test_the_command_measures_a_training_and_writes_it_down(tmp_path):
    out = tmp_path / "cost.json"
    done = CliRunner().invoke(app, ["bench-train", *TINY, *ALONE, "--rounds", "3", "--json", str(out)])
    assert done.exception is None, done.output
    facts = json.loads(out.read_text())
    (row,) = facts["rows"]
    assert "adapters, last 1 blocks, stem cached" in done.output
    rate = row["episodes_per_second"]
    assert 0 < rate["low"] <= rate["median"] <= rate["high"]
    assert 0 < row["memory_mib"] < row["peak_mib"] < 8192
    assert 0 < row["tuned"] < row["parameters"]
    assert len(set(row["losses"])) == 3  # it learns from other episodes each time
    assert facts["settings"]["way"] == 2
    assert facts["machine"]["libraries"]["torch"]


def is_gone(group: int) -> bool:
    """Whether within ten seconds nobody is left of a process group."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_ctrl_c_ends_the_children_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "maclip_cli.workstation", "bench-train", *TINY, *ALONE, "--rounds", "1000"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    # A group of its own, as a terminal gives it: the key's signal reaches the children too.
    started = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("*/cached/metrics.jsonl")):  # until the child trains
            assert started.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        os.killpg(started.pid, signal.SIGINT)
        _, said = started.communicate(timeout=60)
        assert started.returncode == 130, said
        assert "Traceback" not in said
        assert is_gone(started.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
    assert not list(tmp_path.iterdir())
