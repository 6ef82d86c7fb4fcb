"""`maclip-run recognize` with outputs, as a user meets them: files, videos, logs, status, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import av
import pytest
from videos import color_video

from maclip_runtime.sinks import SCHEMA

MAIN = [sys.executable, "-c", "from maclip_cli.device.app import main; main()", "recognize"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of red, three of green."""
    return color_video(tmp_path_factory.mktemp("video") / "long.mp4", [("red", 3.0), ("green", 3.0)])


@pytest.fixture
def command(bundle: Path, enrolled: Path) -> list[str]:
    return [*MAIN, "--bundle", str(bundle), "--gallery", str(enrolled), "--device", "cpu", "--window", "1"]


def run(command: list[str], *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *map(str, args)], capture_output=True, text=True, timeout=120, check=False)


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_all_outputs_at_once_tell_the_same(command: list[str], video: Path, tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    file, saved = tmp_path / "events.jsonl", tmp_path / "out.mp4"
    done = run(
        command, video, "--json", "--to", file, "--save", saved, "--metrics", "0", "--log", "json", "--status"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == file.read_text()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["label"] for event in events if event["kind"] == "end"] == ["red light", "green light"]
    assert events[0]["schema"] == SCHEMA
    assert count_frames(saved) == 60
    logs = [json.loads(line) for line in done.stderr.splitlines()]  # nothing else is said there
    assert [log["label"] for log in logs if log["message"] == "event start"] == ["red light", "green light"]
    assert [log["state"] for log in logs if "state" in log][-1] == "ended"
    said = [log["message"] for log in logs]
    assert any(re.fullmatch(r"metrics: http://127\.0\.0\.1:\d+/metrics", message) for message in said)
    assert any(message.startswith("status: ended · ") for message in said)


def test_events_on_stdout_replace_peoples_text(command: list[str], video: Path) -> None:
    done = run(command, video, "--to", "-", "--to", "-")
    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds.count("start") == kinds.count("end") == 2


def test_reader_that_has_seen_enough_ends_it_quietly(command: list[str], video: Path) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen([*command, str(video), "--json"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    os.close(reader)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "error" not in said
    assert "Traceback" not in said


def test_dead_places_cost_events_and_nothing_else(command: list[str], video: Path) -> None:
    dead = ["http://me:secret@127.0.0.1:1/token"]
    done = run(command, video, "--json", *(part for uri in dead for part in ("--to", uri)))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"http://***@127.0.0.1:1/…: {len(lines)} of {len(lines)} events were dropped" in done.stderr
    assert "secret" not in done.stderr
    assert "token" not in done.stderr


def test_sigterm_finishes_what_was_begun(command: list[str], tmp_path: Path) -> None:
    long = color_video(tmp_path / "long.mp4", [("red", 200.0)])
    saved, file = tmp_path / "out.mp4", tmp_path / "events.jsonl"
    process = subprocess.Popen(
        [*command, str(long), "--json", "--save", str(saved), "--to", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    first = process.stdout.readline()
    reader = threading.Thread(target=process.stdout.read)
    reader.start()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    reader.join()
    assert 5 < count_frames(saved) < 2000
    assert file.read_text().startswith(first)
    assert file.read_text().endswith("}\n")


def test_sigterm_while_a_camera_is_being_opened_ends_at_once(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/"
        process = subprocess.Popen([*command, address, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        silent.accept()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said  # not "source-lost", once it had given up


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_lock_is_held_ends_it_all_the_same(
    command: list[str], video: Path, tmp_path: Path, number: int
) -> None:
    # In the moment between taking a sink's lock and being within its `with`, an exception leaves it taken for ever.
    main = f"""
import os, threading
take = threading.Condition.__enter__
def taken(lock):
    result = take(lock)
    if threading.get_ident() == threading.main_thread().ident and os.path.exists({str(tmp_path / "out.part.mp4")!r}):
        threading.Condition.__enter__ = take
        os.kill(os.getpid(), {int(number)})
        threading.Event().wait(0.1)
    return result
threading.Condition.__enter__ = taken
from maclip_cli.device.app import main
main()
"""
    command = [*command[:1], "-c", main, *command[3:]]
    done = run(command, video, "--json", "--to", tmp_path / "events.jsonl", "--save", tmp_path / "out.mp4")
    assert done.returncode == 130, done.stderr
    assert (tmp_path / "events.jsonl").read_text() == done.stdout
    assert 1 <= count_frames(tmp_path / "out.mp4") < 60


@pytest.mark.parametrize(
    ("options", "code", "exit_code"),
    [
        (("--whole-clip", "--to", "-"), "option-invalid", 2),
        (("--to", "ftp://me:secret@host/x"), "sink-unknown", 2),
        (("--to", "none/events.jsonl"), "output-unwritable", 2),
        (("--save", "out.avi"), "output-unwritable", 2),
        (("--metrics", "here"), "address-invalid", 2),
    ],
)
def test_what_cannot_be_opened_is_said_before_anything_runs(
    command: list[str], video: Path, options: tuple[str, ...], code: str, exit_code: int
) -> None:
    done = run(command, video, *options)
    assert done.returncode == exit_code
    assert done.stdout == ""
    assert f"error[{code}]: " in done.stderr
    assert "secret" not in done.stderr


def test_source_is_not_written_over(command: list[str], video: Path) -> None:
    before = video.read_bytes()
    assert "is a source" in run(command, video, "--save", video).stderr
    assert video.read_bytes() == before


def test_status_is_rewritten_in_a_terminal(command: list[str], video: Path) -> None:
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*command, str(video), "--status", "--json"],
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "300"},
    )
    os.close(terminal)
    screen = b""
    while True:
        try:
            screen += os.read(controller, 65536)
        except OSError:
            break
    os.close(controller)
    assert process.wait(60) == 0
    text = screen.decode()
    assert "\x1b[2K" in text  # a line was taken back
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "frames/s" in written
    assert '"kind": "end"' in written
