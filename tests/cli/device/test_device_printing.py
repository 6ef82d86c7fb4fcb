"""Printing never decides whether the work counts: encodings, full disks, closed streams, readers that leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from videos import color_video

from maclip_runtime import Recognizer

ODD = "手を振る é 👋"
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def given(bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a gallery of two classes with odd names, and a clip whose name is not UTF-8."""
    folder = tmp_path_factory.mktemp("given")
    with Recognizer.open(bundle, folder / "g.db", device="cpu") as recognizer:
        recognizer.enroll(ODD, [clips / "red1.mp4", clips / "red2.mp4"], no_text=True)
        recognizer.enroll("green [light]", [clips / "green1.mp4", clips / "green2.mp4"], no_text=True)
    shutil.copy(clips / "red3.mp4", os.fsdecode(os.fsencode(folder) + b"/b\xff.mp4"))
    color_video(folder / "long.mp4", [("red", 3.0)])
    return folder


def run(
    folder: Path,
    bundle: Path,
    *args: object,
    stdout: IO[bytes] | int = subprocess.PIPE,
    stderr: IO[bytes] | int = subprocess.PIPE,
    env: dict[str, str] | None = None,
    shell: str = "",
) -> subprocess.CompletedProcess[bytes]:
    """Run `maclip-run` on a copy of the gallery; `shell`: redirections such as `>&-`."""
    command = [sys.executable, "-m", "maclip_cli.device", *map(str, args)]
    if shell:
        command = ["sh", "-c", f'"$@" {shell}', "sh", *command]
    settings = {**os.environ, "MACLIP_BUNDLE": str(bundle), "MACLIP_GALLERY": str(folder / "g.db"), **(env or {})}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=settings, timeout=100, check=False
    )


def name_of(folder: Path) -> str:
    return os.fsdecode(os.fsencode(folder) + b"/b\xff.mp4")


READING = [
    ("gallery", "list"),
    ("gallery", "list", "--json"),
    ("gallery", "show", ODD),
    ("gallery", "show", ODD, "--json"),
    ("recognize", "FILE", "--device", "cpu"),
    ("recognize", "FILE", "--device", "cpu", "--json"),
    ("recognize", "FILE", "--device", "cpu", "--whole-clip"),
    ("recognize", "FILE", "--device", "cpu", "--whole-clip", "--json"),
    ("info",),
    ("doctor", "--device", "cpu"),
    ("--help",),
    ("--version",),
]


def filled(args: tuple[str, ...], folder: Path) -> list[str]:
    return [name_of(folder) if arg == "FILE" else arg for arg in args]


@pytest.mark.parametrize("args", READING, ids=" ".join)
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8:strict"])
def test_any_encoding_of_stdout_will_do(given: Path, bundle: Path, args: tuple[str, ...], encoding: str) -> None:
    done = run(given, bundle, *filled(args, given), env={"PYTHONIOENCODING": encoding})
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said
    assert "error" not in said
    text = done.stdout.decode("utf-8" if "--json" in args and "recognize" in args else encoding.split(":")[0])
    if "--json" in args:
        rows = [json.loads(line) for line in text.splitlines()]
        names = {row.get("name") or row.get("label") or ODD for row in rows}
        assert ODD in names


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_results_that_a_full_disk_did_not_take_are_an_error(given: Path, bundle: Path, args: tuple[str, ...]) -> None:
    with FULL.open("wb") as full:
        done = run(given, bundle, *filled(args, given), stdout=full)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert said.count("error[output-unwritable]: ") == 1
    assert "Traceback" not in said


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_what_was_done_counts_though_the_disk_is_full(
    given: Path, bundle: Path, clips: Path, tmp_path: Path, as_json: tuple[str, ...]
) -> None:
    shutil.copy(given / "g.db", tmp_path / "g.db")
    for args in [
        ("enroll", "new", clips / "blue1.mp4", "--no-text", "--force", *as_json),
        ("calibrate", *as_json),
        ("gallery", "rename", "new", "newer"),
        ("gallery", "export", tmp_path / "out.zip"),
        ("gallery", "remove", "newer"),
    ]:
        with FULL.open("wb") as full:
            done = run(tmp_path, bundle, *args, stdout=full)
        said = done.stderr.decode()
        assert done.returncode == 0, said
        assert "error" not in said
        if args[:2] != ("gallery", "export"):
            assert said.count("warning: what was done is done, but stdout could not be written") == 1
    assert (tmp_path / "out.zip").exists()
    names = [
        json.loads(line)["name"] for line in run(tmp_path, bundle, "gallery", "list", "--json").stdout.splitlines()
    ]
    assert set(names) == {ODD, "green [light]"}


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "args",
    [
        ("recognize", "FILE", "--device", "cpu"),
        ("recognize", "FILE", "--device", "cpu", "--json", "--to", "events.jsonl", "--log", "json", "--status"),
        ("gallery", "list", "--json"),
    ],
    ids=" ".join,
)
def test_closed_streams_are_no_failure_and_nothing_lands_in_a_file(
    given: Path, bundle: Path, tmp_path: Path, args: tuple[str, ...], closed: str
) -> None:
    shutil.copy(given / "g.db", tmp_path / "g.db")
    events = tmp_path / "events.jsonl"
    words = [str(events) if word == "events.jsonl" else word for word in filled(args, given)]
    done = run(tmp_path, bundle, *words, shell=closed)
    lost = "recognize" in args and "--json" in args and ">&-" in closed.split()  # events, which were asked for
    assert done.returncode == (2 if lost else 0), done.stderr
    if str(events) in words:
        kinds = [json.loads(line)["kind"] for line in events.read_text().splitlines()]
        assert kinds.count("start") == kinds.count("end") == 1
    with Recognizer.open(bundle, tmp_path / "g.db", device="cpu") as recognizer:
        assert len(recognizer.classes()) == 2


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stderr_is_no_failure(given: Path, bundle: Path) -> None:
    with FULL.open("wb") as full:
        done = run(given, bundle, "recognize", given / "long.mp4", "--json", "--log", "json", "--status", stderr=full)
        refused = run(given, bundle, "recognize", given / "none.mp4", stderr=full)
    assert done.returncode == 0
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()][-1] == "end"
    assert refused.returncode == 2


@pytest.mark.parametrize("args", [("gallery", "list"), ("recognize", "FILE", "--device", "cpu"), ("info", "--json")])
def test_a_reader_that_has_gone_is_no_error(given: Path, bundle: Path, args: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(given, bundle, *filled(args, given), stdout=writer)
    finally:
        os.close(writer)
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "error" not in said


def test_a_pipe_that_does_not_block_gets_everything(given: Path, bundle: Path) -> None:
    """As node makes them; the reader is slow to begin."""
    program = (
        "import os, sys; os.set_blocking(1, False)\n"
        "from maclip_cli import streams; streams.protect()\n"
        "for number in range(20000): print(number)\n"
        "assert streams.lost_output() is None\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.read().split() == [str(number) for number in range(20000)]
    assert process.returncode == 0


@pytest.mark.parametrize("option", ["--to", "--save", "--metrics"])
def test_outputs_may_have_names_that_are_not_utf8(given: Path, bundle: Path, tmp_path: Path, option: str) -> None:
    value = os.fsdecode(os.fsencode(tmp_path) + (b"/o\xff.mp4" if option == "--save" else b"/o\xff.jsonl"))
    done = run(given, bundle, "recognize", name_of(given), "--device", "cpu", option, value, "--json")
    said = done.stderr.decode(errors="replace")
    assert "internal" not in said
    assert "Traceback" not in said
    if option == "--to":
        assert done.returncode == 0
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("module", "name"), [("device", "maclip-run"), ("workstation", "maclip")])
def test_both_commands_say_their_version(module: str, name: str) -> None:
    from importlib.metadata import version

    command = [sys.executable, "-m", f"maclip_cli.{module}", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} {version('maclip')}\n", "")


def test_what_is_given_wins_over_the_environment(given: Path, bundle: Path, tmp_path: Path) -> None:
    none = {"MACLIP_BUNDLE": str(tmp_path / "none"), "MACLIP_GALLERY": str(tmp_path / "none.db")}
    done = run(given, bundle, "gallery", "list", "--gallery", given / "g.db", env=none)
    assert done.returncode == 0, done.stderr
    done = run(given, bundle, "info", bundle, env=none)
    assert done.returncode == 0, done.stderr
    assert b"error[gallery-missing]" in run(given, bundle, "gallery", "list", env=none).stderr
    assert b"error[bundle-missing]" in run(given, bundle, "info", env=none).stderr
    unset = {"MACLIP_BUNDLE": "", "MACLIP_GALLERY": ""}
    assert run(given, bundle, "gallery", "list", env=unset).returncode == 2
