"""The measuring kit: children fail alone and say why, turns go round, and figures mean what they say."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from measured_bodies import LARGE_BYTES, Large, clock, end_it, process, sleep

from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.child import Child, ChildFailed, ChildTooSlow, run_alone, serve
from maclip_runtime.tools.measuring.machine import commit_of, library_versions, machine_facts
from maclip_runtime.tools.measuring.memory import peak_resident_mib, resident_mib
from maclip_runtime.tools.measuring.output import require_outputs, write_json
from maclip_runtime.tools.measuring.spread import Spread, Times
from maclip_runtime.tools.measuring.turns import Subject, repeat, take_turns


def test_peak_of_a_child_is_its_own() -> None:
    ballast = np.ones(3 * LARGE_BYTES, np.uint8)  # of the parent, which a child's getrusage would inherit
    with Child(serve, Large) as child:
        peak, after = child.facts
        assert LARGE_BYTES / 2**20 <= peak < 1.5 * LARGE_BYTES / 2**20
        assert after < peak / 2
        assert child.turn("again") == "again"
    assert ballast[0] == 1


def test_faults_of_a_child_reach_its_parent() -> None:
    with Child(serve, Large) as child, pytest.raises(ChildFailed, match="exit code 7: last words"):
        child.turn("die")
    with Child(serve, Large) as child, pytest.raises(ChildFailed) as failed:
        child.turn("stumble")
    assert failed.value.why == "ValueError: too bad"
    assert (failed.value.code, failed.value.exit_code) == ("bench-failed", 1)
    with Child(serve, Large) as child, pytest.raises(MaclipError, match=r"A sentence\. A fix\."):
        child.turn("complain")


def test_child_that_the_system_ends_says_so() -> None:
    with pytest.raises(ChildFailed, match="exit code -9: killed, as a system does that runs out of memory"):
        Child(end_it)


def test_child_beyond_its_limit_is_ended() -> None:
    assert run_alone(sleep, 0.0, limit_s=60.0) == "awake"
    begun = time.monotonic()
    with pytest.raises(ChildTooSlow, match=r"longer than 0\.5 s"):
        run_alone(sleep, 60.0, limit_s=0.5)
    assert time.monotonic() - begun < 20


def test_what_a_child_prints_is_no_answer() -> None:
    with Child(serve, Large) as child:
        assert child.turn("chat") == "chat"


def test_child_is_another_process_that_ctrl_c_does_not_end() -> None:
    number, ignores = run_alone(process)
    assert number != os.getpid()
    assert ignores


def test_clock_of_a_child_begins_before_anything_heavy_is_imported() -> None:
    before = time.monotonic()
    begun, ready = run_alone(clock)
    assert before <= begun < ready < time.monotonic()
    imports = "import maclip_runtime.tools.measuring.bare, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=True)
    assert not {"numpy", "av", "torch", "rich", "subprocess"} & set(done.stdout.split())


def test_turns_go_round() -> None:
    asked: list[str] = []
    results = take_turns({name: lambda name=name: asked.append(name) or len(asked) for name in "ab"}, 3)
    assert asked == ["a", "b"] * 3
    assert results == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_work_is_repeated_as_often_as_was_asked_and_warmed_up() -> None:
    calls: list[int] = []
    took = repeat(lambda: calls.append(1), 0.0, min_runs=5, warm_runs=2)
    assert (len(took), len(calls)) == (5, 7)
    assert len(repeat(lambda: time.sleep(0.001), 0.1, min_runs=1)) > 5


def test_subject_fails_alone() -> None:
    with ExitStack() as stack:
        subject = Subject("large")
        subject.start(stack, serve, Large)
        for work in ("again", "again", "complain", "again"):
            subject.turn(work)
        assert subject.failed == "A sentence."
        assert subject.answers["again"] == ["again", "again"]  # it is asked nothing more
        dead = Subject("dead")
        dead.start(stack, end_it)
        dead.turn("again")
        assert dead.failed is not None
        assert "exit code" in dead.failed
        assert dead.facts is None
        strict = Subject("strict", tolerates=lambda error: error.code == "other")
        strict.start(stack, serve, Large)
        with pytest.raises(MaclipError, match="A sentence"):
            strict.turn("complain")


def test_spreads_hold_what_they_are_called() -> None:
    times = Times.of([index / 1000 for index in range(101)])
    assert (times.best, times.p50, times.p90, times.p99, times.count) == (0.0, 50.0, 90.0, 99.0, 101)
    assert Spread.of([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)


def test_memory_is_that_of_this_process() -> None:
    before = resident_mib()
    if before is None:
        pytest.skip("this system does not say")
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    after, peak = resident_mib(), peak_resident_mib()
    assert after is not None
    assert peak is not None
    assert 48 < after - before < 96
    assert peak >= after - 1
    del block


def test_machine_facts_say_what_figures_were_measured_on() -> None:
    facts = machine_facts()
    assert facts["cores"] >= 1
    assert {"maclip", "numpy", "av"} <= set(facts["libraries"])
    assert isinstance(facts["busy"], bool)
    assert facts["commit"] is None or len(facts["commit"].removesuffix("-dirty")) == 40
    json.dumps(facts, allow_nan=False)
    assert set(library_versions(("numpy", "no-such-library"))) == {"numpy"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with one committed file."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "code.py").write_text("one")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    committed = [*identity, "commit", "-q", "-m", "one"]
    for command in (["init", "-q"], ["add", "."], committed, [*identity, "tag", "-a", "v9", "-m", "nine"]):
        subprocess.run(["git", "-C", str(root), *command], check=True, capture_output=True)
    return root


def test_the_commit_is_whole_and_says_when_files_differ(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")  # as inside a hook of another repository
    commit = commit_of(checkout)
    assert commit is not None
    assert len(commit) == 40
    assert int(commit, 16)
    (checkout / "code.py").write_text("two")
    assert commit_of(checkout) == f"{commit}-dirty"


def test_no_checkout_or_no_git_is_no_commit_and_no_error(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = checkout / "venv" / "site-packages"  # installed into another project's checkout
    inside.mkdir(parents=True)
    assert commit_of(inside) is None
    assert commit_of(tmp_path) is None
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    assert commit_of(checkout) is None


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1.5})
    assert json.loads(path.read_text()) == {"a": 1.5}
    for wrong in (math.nan, object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, {"a": wrong})
    assert json.loads(path.read_text()) == {"a": 1.5}
    with pytest.raises(MaclipError) as refused:
        write_json(tmp_path / "no" / "facts.json", {})
    assert refused.value.code == "output-unwritable"
    assert [file.name for file in tmp_path.iterdir()] == ["facts.json"]


@pytest.mark.parametrize(
    ("outputs", "code"),
    [
        ({"figure": "a.txt"}, "option-invalid"),
        ({"figure": "no/a.png"}, "output-unwritable"),
        ({"json_file": "no/a.json"}, "output-unwritable"),
        ({"json_file": "."}, "output-unwritable"),
    ],
)
def test_outputs_that_cannot_be_are_refused(tmp_path: Path, outputs: dict[str, str], code: str) -> None:
    with pytest.raises(MaclipError) as refused:
        require_outputs(**{name: tmp_path / path for name, path in outputs.items()})
    assert refused.value.code == code
    require_outputs(tmp_path / "a.json", tmp_path / "a.png")
