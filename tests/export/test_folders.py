"""A folder that appears whole or not at all, also when somebody stops it on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maclip_export import folders
from maclip_export.folders import new_folder

BOTH = [signal.SIGINT, signal.SIGTERM]


def make(out: Path, content: str, then: int | None = None) -> None:
    with new_folder(out, force=True, ours=lambda folder: True, kind="thing") as folder:
        (folder / "file").write_text(content)
        if then is not None:
            signal.raise_signal(then)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_leaves_what_was_there_and_nothing_else(tmp_path: Path, number: int) -> None:
    make(tmp_path / "out", "first")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", "second", number)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "first"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("when", [1, 2])
def test_a_signal_between_the_two_moves_waits_for_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, when: int
) -> None:
    make(tmp_path / "out", "first")
    moves = []

    def replace_then_signal(source: Path, target: Path) -> None:
        os.rename(source, target)
        moves.append(target)
        if len(moves) == when:
            signal.raise_signal(number)

    monkeypatch.setattr(folders.os, "replace", replace_then_signal)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "second"


def test_whoever_cannot_wait_finds_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "out", "first")

    def replace_then_signal_twice(source: Path, target: Path) -> None:
        monkeypatch.undo()
        os.rename(source, target)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(folders.os, "replace", replace_then_signal_twice)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "first"


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_at_the_very_beginning_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def make_then_signal(prefix: str, dir: Path) -> str:
        (dir / f"{prefix}x").mkdir()
        signal.raise_signal(number)
        return str(dir / f"{prefix}x")

    monkeypatch.setattr(folders.tempfile, "mkdtemp", make_then_signal)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", "first")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_told_to_stop_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maclip_cli.workstation", "export", "--frozen", "--backbone", "tiny"]
    with subprocess.Popen([*command, "-o", str(tmp_path / "bundle")], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 400
        while not list(tmp_path.glob(".bundle.*/*.onnx")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(timeout=120) == 130, said
    assert said.splitlines()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []
