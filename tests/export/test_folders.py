"""A folder that appears whole or not at all, also when somebody stops it on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from maclip_export import folders
from maclip_export.folders import new_folder

BOTH = [signal.SIGINT, signal.SIGTERM]


def make(out: Path, content: str, then: int | None = None) -> None:
    with new_folder(out, force=True, ours=lambda folder: True, kind="thing") as folder:
        (folder / "file").write_text(content)
        if then is not None:
            signal.raise_signal(then)


def alone(work: str, folder: Path, *numbers: int) -> None:
    """Call a function of this file with a folder in a process of its own: a test runner has handlers too."""
    call = f"{work}(__import__('pathlib').Path(sys.argv[1]), *map(int, sys.argv[2:]))"
    default = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # whatever the shell said of Ctrl-C
    code = f"import signal, sys; {default}; from {Path(__file__).stem} import {work}; {call}; print('done')"
    command = [sys.executable, "-c", code, str(folder), *(str(int(number)) for number in numbers)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_leaves_what_was_there_and_nothing_else(tmp_path: Path, number: int) -> None:
    alone("stopped_while_writing", tmp_path, number)


def stopped_while_writing(folder: Path, number: int) -> None:
    make(folder / "out", "first")
    with pytest.raises(KeyboardInterrupt):
        make(folder / "out", "second", number)
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert (folder / "out" / "file").read_text() == "first"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("when", [1, 2])
def test_a_signal_between_the_two_moves_waits_for_the_second(tmp_path: Path, number: int, when: int) -> None:
    alone("stopped_while_moving", tmp_path, number, when)


def stopped_while_moving(folder: Path, number: int, when: int) -> None:
    make(folder / "out", "first")
    moves = []

    def replace_then_signal(source: Path, target: Path) -> None:
        os.rename(source, target)
        moves.append(target)
        if len(moves) == when:
            signal.raise_signal(number)

    with mock.patch.object(folders.os, "replace", replace_then_signal), pytest.raises(KeyboardInterrupt):
        make(folder / "out", "second")
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert (folder / "out" / "file").read_text() == "second"


def test_whoever_cannot_wait_finds_what_was_there(tmp_path: Path) -> None:
    alone("stopped_twice", tmp_path)


def stopped_twice(folder: Path) -> None:
    make(folder / "out", "first")
    patched = mock.patch.object(folders.os, "replace")

    def replace_then_signal_twice(source: Path, target: Path) -> None:
        patched.stop()
        os.rename(source, target)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    patched.start().side_effect = replace_then_signal_twice
    with pytest.raises(KeyboardInterrupt):
        make(folder / "out", "second")
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert (folder / "out" / "file").read_text() == "first"


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_at_the_very_beginning_leaves_nothing(tmp_path: Path, number: int) -> None:
    alone("stopped_at_the_beginning", tmp_path, number)


def stopped_at_the_beginning(folder: Path, number: int) -> None:
    def make_then_signal(prefix: str, dir: Path) -> str:
        (dir / f"{prefix}x").mkdir()
        signal.raise_signal(number)
        return str(dir / f"{prefix}x")

    with mock.patch.object(folders.tempfile, "mkdtemp", make_then_signal), pytest.raises(KeyboardInterrupt):
        make(folder / "out", "first")
    assert list(folder.iterdir()) == []


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
