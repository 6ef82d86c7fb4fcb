"""`maclip-run` in careless hands: whatever is given, it ends soon, in plain words and without a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

ENDS_S = 100.0  # on a busy machine


def run(
    *args: object, stdout: IO[bytes] | int = subprocess.PIPE, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "maclip_cli.device", *map(str, args)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=ENDS_S, check=False, env=env
    )


def assert_plain(done: subprocess.CompletedProcess[bytes], code: str) -> None:
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 2, said
    assert f"error[{code}]: " in said
    assert "\nfix: " in said
    assert "Traceback" not in said


def test_wrong_things_in_wrong_places_are_refused(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    clip, half = clips / "red1.mp4", tmp_path / "half.db"
    half.write_bytes(enrolled.read_bytes()[: enrolled.stat().st_size // 2])
    for source, model, gallery, code in [
        (bundle, clip, enrolled, "bundle-missing"),
        (bundle, bundle, enrolled, "clip-unreadable"),
        (clip, bundle, tmp_path, "output-unwritable"),
        (clip, bundle, clip, "gallery-corrupt"),
        (clip, bundle, half, "gallery-corrupt"),
    ]:
        assert_plain(run("recognize", source, "--bundle", model, "--gallery", gallery), code)


@pytest.mark.parametrize("window", ["nan", "1e308", "-1"])
def test_windows_that_cannot_be_are_refused(bundle: Path, enrolled: Path, clips: Path, window: str) -> None:
    both = ("--bundle", bundle, "--gallery", enrolled)
    assert_plain(run("recognize", clips / "red1.mp4", *both, "--window", window), "window-invalid")


def test_errors_never_steer_the_terminal(bundle: Path, enrolled: Path) -> None:
    done = run("recognize", "a\x1b[31m\x07b", "--bundle", bundle, "--gallery", enrolled)
    assert_plain(done, "clip-unreadable")
    assert b"\x1b" not in done.stderr
    assert b"\x07" not in done.stderr
    assert b"a\\x1b[31m\\x07b" in done.stderr


def test_name_of_a_file_that_is_no_text_is_printed(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff odd.mp4")
    try:
        shutil.copy(clips / "red3.mp4", odd)
    except OSError:
        pytest.skip("this disk takes no such names")
    for more in (["--json"], ["--whole-clip"], ["--whole-clip", "--json"]):
        done = run("recognize", odd, "--bundle", bundle, "--gallery", enrolled, *more)
        assert done.returncode == 0, done.stderr
        assert b"odd.mp4" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
def test_full_disk_behind_stdout_is_said_and_waited_for_by_nobody(bundle: Path, enrolled: Path, clips: Path) -> None:
    both = ("--bundle", bundle, "--gallery", enrolled)
    with Path("/dev/full").open("wb") as full:
        done = run("recognize", clips / "red3.mp4", *both, "--json", stdout=full)
        assert b"error[output-unwritable]" in done.stderr
        assert done.returncode == 2
        listed = run("gallery", "list", "--gallery", enrolled, "--json", stdout=full)
    for one in (done, listed):
        assert b"Traceback" not in one.stderr
        assert b"No space left" in one.stderr
    assert listed.returncode != 0


def test_stdout_that_was_closed_at_the_start_is_an_error(bundle: Path, enrolled: Path, clips: Path) -> None:
    for more, code in ((["--json"], 2), (["--whole-clip"], 0)):
        command = ["recognize", clips / "red3.mp4", "--bundle", bundle, "--gallery", enrolled, *more]
        line = 'exec "$0" -m maclip_cli.device "$@" >&-'
        done = subprocess.run(["sh", "-c", line, sys.executable, *map(str, command)], capture_output=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert b"internal" not in done.stderr


def test_plain_locale_and_no_home(bundle: Path, enrolled: Path, clips: Path) -> None:
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": os.environ["PATH"]}
    both = ("--bundle", bundle, "--gallery", enrolled)
    for more in (["--whole-clip"], ["--json"]):
        done = run("recognize", clips / "red3.mp4", *both, *more, env=plain)
        assert done.returncode == 0, done.stderr
        assert b"red light" in done.stdout


def test_help_loads_neither_numpy_nor_an_engine() -> None:
    code = "import sys, maclip_cli.device.app; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=ENDS_S, check=True)
    assert {"typer", "maclip_runtime"} <= set(done.stdout.split())
    assert not {"numpy", "PIL", "av", "onnxruntime", "openvino", "safetensors"} & set(done.stdout.split())
