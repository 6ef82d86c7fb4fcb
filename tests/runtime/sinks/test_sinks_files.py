"""Files and stdout as sinks: whole lines only, set aside when large, whatever the disk or the reader does."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sink_events import event, wait_for

from maclip_runtime.errors import MaclipError
from maclip_runtime.sinks import SinkOptions, base, open_sink
from maclip_runtime.sinks.kinds.file import FileSink
from maclip_runtime.sinks.record import event_line
from maclip_runtime.sinks.rotating_file import RotatingFile


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(base, "MAX_RETRY_SECONDS", 0.05)


def test_file_gets_every_event_and_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with open_sink(path, SinkOptions(max_bytes=1000, keep=2)) as sink:
        for number in range(40):
            sink.event(event(number))
        wait_for(lambda: sink.delivered == 40)
    assert sink.dropped == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    files = [tmp_path / "events.jsonl.2", tmp_path / "events.jsonl.1", path]
    assert all(file.stat().st_size <= 1000 for file in files)
    numbers = [json.loads(line)["end_s"] for file in files for line in file.read_text().splitlines()]
    assert numbers == list(range(40 - len(numbers), 40))  # the newest, in order, none missing
    with open_sink(path, SinkOptions(max_bytes=10**6)) as sink:
        sink.event(event(40))
    assert json.loads(path.read_text().splitlines()[-1])["end_s"] == 40


@pytest.mark.parametrize("torn", [b'{"a": 1}\n{"b"', b'{"b"', b'{"a": 1}\n', b""])
def test_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(torn)
    file = RotatingFile(path, max_bytes=200_000, keep=3)
    file.append(b'{"c": 3}\n')
    file.close()
    whole = b'{"a": 1}\n' if b"\n" in torn else b""
    assert path.read_bytes() == whole + b'{"c": 3}\n'


def test_killed_writer_leaves_at_most_a_half_line_that_the_next_one_cuts_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    program = (
        "import sys; from pathlib import Path; from maclip_runtime.sinks.rotating_file import RotatingFile\n"
        "file = RotatingFile(Path(sys.argv[1]), max_bytes=200_000, keep=3)\n"
        "number = 0\n"
        'while True: file.append(b\'{"n": %d, "pad": "%s"}\\n\' % (number, b\'x\' * 5000)); number += 1\n'
    )
    for _ in range(3):
        for file in tmp_path.glob("events.jsonl.*"):
            file.unlink()
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
        wait_for(lambda: (tmp_path / "events.jsonl.3").exists())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        RotatingFile(path, max_bytes=200_000, keep=3).close()
        for file in tmp_path.iterdir():
            assert all(json.loads(line)["pad"] for line in file.read_text().splitlines())
            assert file.read_bytes()[-1:] in {b"\n", b""}


def test_full_disk_leaves_whole_lines_and_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "events.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = len(event_line(event(0)))
    with open_sink(str(path)) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(2.5 * line), before[1]))  # as a disk with so much room
        try:
            for number in range(4):
                sink.event(event(number))
            wait_for(lambda: "cannot deliver" in caplog.text)
            assert path.stat().st_size == 2 * line
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        wait_for(lambda: sink.delivered == 4)
    assert [json.loads(text)["end_s"] for text in path.read_text().splitlines()] == [0, 1, 2, 3]


def test_file_that_is_no_place_for_events_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"\0\0\0\x20ftypisom")
    for path in [clip, tmp_path, tmp_path / "none" / "events.jsonl"]:
        with pytest.raises(MaclipError) as refused:
            open_sink(str(path))
        assert refused.value.code == "output-unwritable"
    assert clip.read_bytes() == b"\0\0\0\x20ftypisom"
    with FileSink(str(tmp_path / "events.jsonl")), pytest.raises(MaclipError, match="another program"):
        FileSink(str(tmp_path / "events.jsonl"))


def test_a_device_for_a_file_is_closed_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    with open_sink("/dev/null") as sink:
        sink.event(event(0))
        wait_for(lambda: sink.delivered == 1)
    assert not caplog.records


def test_a_disk_that_fails_at_the_end_is_said(tmp_path: Path, monkeypatch, caplog) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with open_sink(str(tmp_path / "events.jsonl")) as sink:
        sink.event(event(0))
        wait_for(lambda: sink.delivered == 1)
        monkeypatch.setattr(os, "fsync", failing)
    assert "the last lines may not be on the disk (No space left on device)" in caplog.text


def test_stdout_is_json_lines_until_the_reader_has_gone() -> None:
    program = (
        "import sys; from maclip_runtime.decisions import Event; from maclip_runtime.sinks import open_sink\n"
        "sink = open_sink('-')\n"
        "for number in range(3000): sink.event(Event('start', 'a', 0.5, 0.5, 0.0, number, 'camera'))\n"
        "sink.close(); print(sink.gone, sink.dropped, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert [json.loads(line)["end_s"] for line in done.stdout.splitlines()] == list(range(3000))
    assert done.stderr == "False 0\n"
    reader, writer = os.pipe()
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        os.read(reader, 100)
        os.close(reader)
        assert process.communicate(timeout=60)[1] == "True 0\n"
        assert process.returncode == 0
