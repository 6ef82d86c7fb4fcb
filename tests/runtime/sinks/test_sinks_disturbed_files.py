"""A sink recovers by itself from what happens to its file, and says what is wrong: once, with the reason."""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sink_events import event, wait_for

from maclip_runtime.errors import MaclipError
from maclip_runtime.sinks import Sink, SinkOptions, base, open_sink
from maclip_runtime.sinks.record import event_line
from maclip_runtime.sinks.rotating_file import RotatingFile


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(base, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(base, "MAX_RETRY_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "maclip")


def lines(file: Path) -> list[float]:
    return [json.loads(line)["end_s"] for line in file.read_text().splitlines()]


def moved(path: Path) -> None:
    path.rename(path.with_name("moved.jsonl"))


def replaced(path: Path) -> None:
    path.unlink()
    path.write_text(event_line(event(99)).decode())


def truncated(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_a_line(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def written_by_another(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"half')


@pytest.mark.parametrize("happens", [moved, Path.unlink, replaced, truncated, cut_in_a_line, written_by_another])
@pytest.mark.parametrize("max_bytes", [10_000_000, 700])  # 700: it is also due to be rotated soon
def test_a_file_that_changes_behind_our_back(tmp_path: Path, happens: Callable[[Path], None], max_bytes: int) -> None:
    path = tmp_path / "events.jsonl"
    with open_sink(path, SinkOptions(max_bytes=max_bytes)) as sink:
        for number in range(2):
            sink.event(event(number))
        wait_for(lambda: sink.delivered == 2)
        happens(path)
        for number in range(2, 12):
            sink.event(event(number))
        wait_for(lambda: sink.delivered == 12)
    found = sorted(number for file in tmp_path.iterdir() for number in lines(file))  # each line is whole
    assert set(range(2, 12)) <= set(found)
    assert len(found) == len(set(found))
    assert not any(file.read_bytes().count(b"\0") for file in tmp_path.iterdir())


def test_a_folder_in_the_file_s_place_is_waited_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "events.jsonl"
    with open_sink(path) as sink:
        sink.event(event(0))
        wait_for(lambda: sink.delivered == 1)
        path.unlink()
        path.mkdir()
        for number in (1, 2):
            sink.event(event(number))
        wait_for(lambda: "Is a directory" in caplog.text)
        path.rmdir()
        wait_for(lambda: sink.delivered == 3)
    assert lines(path) == [1, 2]
    assert caplog.text.count("cannot deliver") == 1
    assert caplog.text.count("delivering again") == 1


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "today" / "events.jsonl"
    path.parent.mkdir(parents=True)
    with open_sink(path) as sink:
        sink.event(event(0))
        wait_for(lambda: sink.delivered == 1)
        shutil.rmtree(tmp_path / "logs")
        sink.event(event(1))
        wait_for(lambda: sink.delivered == 2)
    assert lines(path) == [1]


def test_a_disk_that_was_unmounted_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RotatingFile(tmp_path / "events.jsonl", max_bytes=1000, keep=1)
    stale = [True]
    fstat = os.fstat

    def failing(descriptor: int) -> os.stat_result:
        if stale and stale.pop():
            raise OSError(116, "Stale file handle")
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", failing)
    file.append(b'{"a": 1}\n')
    file.close()
    assert (tmp_path / "events.jsonl").read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize("theirs", ["not JSON", "locked"])
def test_another_s_file_in_its_place_is_left_alone(
    tmp_path: Path, theirs: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    with open_sink(path) as sink:
        sink.event(event(0))
        wait_for(lambda: sink.delivered == 1)
        path.unlink()
        other = RotatingFile(path, max_bytes=1000, keep=1)
        if theirs == "not JSON":
            other.close()
            path.write_text("notes")
        sink.event(event(1))
        wait_for(lambda: ("something other" if theirs == "not JSON" else "another program") in caplog.text)
        assert path.read_text() == ("notes" if theirs == "not JSON" else "")
        other.close()
        path.unlink()
        wait_for(lambda: sink.delivered == 2)
    assert lines(path) == [1]


def test_a_file_that_cannot_be_renamed_grows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "events.jsonl"
    (tmp_path / "events.jsonl.1" / "full").mkdir(parents=True)
    with open_sink(path, SinkOptions(max_bytes=500, keep=1)) as sink:
        for number in range(9):
            sink.event(event(number))
        wait_for(lambda: sink.delivered == 9)
    assert lines(path) == list(range(9))
    assert caplog.text.count("cannot be rotated (Is a directory): it grows") == 1


def test_a_device_is_never_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("renamed"))
    with open_sink("/dev/null", SinkOptions(max_bytes=10)) as sink:
        for number in range(5):
            sink.event(event(number))
        wait_for(lambda: sink.delivered == 5)


def test_full_device_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sink, "close_s", 0.1)
    with open_sink("/dev/full") as sink:
        for number in range(5):
            sink.event(event(number))
        wait_for(lambda: "No space left" in caplog.text)
    assert caplog.text.count("cannot deliver") == 1
    assert sink.dropped == 5


PROGRAM = (
    "import os, sys, resource\n"
    "from maclip_runtime.decisions import Event; from maclip_runtime.sinks import open_sink, base\n"
    "base.FIRST_RETRY_SECONDS = base.MAX_RETRY_SECONDS = 0.01\n"
    "sink = open_sink('-')\n"
    "for number in range(int(sys.argv[1])): sink.event(Event('start', 'a', 0.5, 0.5, 0.0, number, 'camera'))\n"
)


@pytest.mark.parametrize("room_comes_back", [True, False])
def test_stdout_on_a_disk_that_fills_up_holds_whole_lines(tmp_path: Path, room_comes_back: bool) -> None:
    """The disk has room for some lines and a half."""
    path = tmp_path / "out"
    wait = "import time\nwhile not sink.health.troubled: time.sleep(0.01)\n"
    back = "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n" if room_comes_back else ""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
    program = PROGRAM.replace("sink = open", limit + "sink = open") + wait + back + "sink.close()"
    with path.open("wb") as out:
        subprocess.run([sys.executable, "-c", program, "20"], stdout=out, timeout=60, check=True)
    whole = lines(path)
    assert path.read_bytes().endswith(b"\n")
    assert whole == list(range(20 if room_comes_back else len(whole)))
    assert whole


def test_stdout_into_a_pipe_that_does_not_block_holds_whole_lines() -> None:
    program = "import os; os.set_blocking(1, False)\n" + PROGRAM + "sink.close()"
    command = [sys.executable, "-c", program, "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = [json.loads(line)["end_s"] for line in process.stdout]
    assert found == list(range(3000))


def test_a_line_given_up_in_its_middle_is_finished_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    from maclip_runtime.sinks.kinds.stdout import StdoutSink

    written: list[bytes] = []
    room = [10, -1, 1000, 1000]

    def write(descriptor: int, data: bytes) -> int:
        size = room.pop(0)
        if size < 0:
            raise OSError(28, "No space left on device")
        written.append(bytes(data[:size]))
        return min(size, len(data))

    sink = StdoutSink()
    sink.close()
    monkeypatch.setattr(os, "isatty", lambda _: False)
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr("maclip_runtime.sinks.kinds.stdout._taken_back", lambda _: False)
    with pytest.raises(base.Refused):
        sink.deliver(b'{"first": "line"}\n')
    sink.deliver(b'{"second": 2}\n')
    assert b"".join(written) == b'{"first": "line"}\n{"second": 2}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_terminal_of_any_encoding_shows_json(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from maclip_runtime.sinks.kinds.stdout import StdoutSink

    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(os, "isatty", lambda _: True)
    with StdoutSink() as sink:
        sink.event(event(0, label="é 手 👋"))
    assert sink.delivered == 1
    assert json.loads(terminal.buffer.getvalue().decode(encoding))["label"] == "é 手 👋"  # type: ignore[attr-defined]


def test_limits_of_size_do_not_kill_the_program(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = RotatingFile(tmp_path / "events.jsonl", max_bytes=10_000, keep=1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.append(b'{"a": 1}\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    file.append(b'{"a": 1}\n')
    file.close()
    assert (tmp_path / "events.jsonl").read_bytes() == b'{"a": 1}\n'


def test_codes_of_refused_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(MaclipError, match="something other than JSON Lines"):
        RotatingFile(tmp_path / "notes.txt", max_bytes=100, keep=1)
