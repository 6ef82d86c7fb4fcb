"""Metrics as Prometheus reads them, logs with fields and without passwords, the line of status."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from maclip_runtime import Gallery
from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sources import Frame, SourceState, SourceStatus
from maclip_runtime.telemetry import EventLogger, StatusBoard, configure_logs, status
from maclip_runtime.telemetry.metrics import Metrics, parse_address

CAMERA = "rtsp://***@camera/1"
VERDICT = Verdict("waving", "waving", 0.9, 0.1, 0.5)
START = Event("start", 'wa"v\ning', 0.9, 0.5, 1.0, 2.0, CAMERA, match=0.75, id="1f")


def told(state: SourceState = SourceState.RUNNING, name: str = CAMERA, **changes: float | str) -> SourceStatus:
    known = {"since_s": 7.0, "frames": 90, "dropped": 10, "reconnects": 2, "rate": 12.5, "problem": "timed out"}
    return SourceStatus(name, state, **{**known, **changes})  # type: ignore[arg-type]


def frame(index: int = 0) -> Frame:
    return Frame(np.zeros((4, 4, 3), np.uint8), 0.0, index)


class Outlet:
    name, dropped, delivered, waiting = "mqtt://***@broker/a", 3, 40, 2


def read_metrics(url: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, as Prometheus parses them."""
    parser = pytest.importorskip("prometheus_client.parser")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        text = answer.read().decode()
    families = list(parser.text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_of_names_that_are_not_utf8_are_served() -> None:
    pytest.importorskip("prometheus_client")
    odd = "/clips/b\udcff.mp4"

    class OddOutlet(Outlet):
        name = "/out\udcff.mp4"

    with Metrics("0", [OddOutlet()]) as metrics:
        metrics.frame(odd, frame())
        metrics.status(dataclasses.replace(told(), name=odd))
        metrics.verdict(odd, VERDICT, 0.0, 1.0)
        metrics.event(dataclasses.replace(START, source=odd))
        found = read_metrics(metrics.url)
    assert found["maclip_source_frames_total", "/clips/b?.mp4"] == 90
    assert found["maclip_answers_total", "waving", "/clips/b?.mp4"] == 1
    assert found["maclip_sink_dropped_total", "/out?.mp4"] == 3


@pytest.fixture
def clean_logging() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("maclip")
    handlers, level = list(root.handlers), own.level
    yield
    root.handlers[:] = handlers
    own.setLevel(level)


def test_metrics_say_how_each_part_fares(enrolled: Path) -> None:
    pytest.importorskip("prometheus_client")
    with Gallery(enrolled) as gallery, Metrics("0", [Outlet()], gallery) as metrics:
        assert metrics.url.startswith("http://127.0.0.1:")
        metrics.status(told(SourceState.LOST))
        metrics.frame(CAMERA, frame())
        metrics.verdict(CAMERA, VERDICT, 0.0, 1.0)
        metrics.event(START)
        metrics.event(dataclasses.replace(START, kind="end", withdrawn=True))
        metrics.timing("tower", 0.03)
        found = read_metrics(metrics.url)
        assert found["maclip_source_state", CAMERA, "lost"] == 1
        assert found["maclip_source_state", CAMERA, "running"] == 0
        assert found["maclip_source_frames_total", CAMERA] == 90
        assert found["maclip_source_dropped_frames_total", CAMERA] == 10
        assert found["maclip_source_reconnects_total", CAMERA] == 2
        assert found["maclip_source_frame_rate", CAMERA] == 12.5
        assert found["maclip_source_frame_timestamp_seconds", CAMERA] > 1.6e9
        assert found["maclip_source_report_timestamp_seconds", CAMERA] > 1.6e9
        assert found["maclip_events_total", "start", START.label, CAMERA] == 1
        assert found["maclip_events_total", "withdrawn", START.label, CAMERA] == 1
        assert found["maclip_answers_total", "waving", CAMERA] == 1
        assert found["maclip_answer_latency_seconds_count", CAMERA] == 1
        assert found["maclip_stage_seconds_sum", "tower"] == pytest.approx(0.03)
        assert found["maclip_stage_seconds_bucket", "0.02", "tower"] == 0
        assert found["maclip_stage_seconds_bucket", "0.05", "tower"] == 1
        assert found["maclip_sink_dropped_total", "mqtt://***@broker/a"] == 3
        assert found["maclip_sink_delivered_total", "mqtt://***@broker/a"] == 40
        assert found["maclip_sink_waiting", "mqtt://***@broker/a"] == 2
        assert found["maclip_gallery_classes",] == 2
        assert found["process_resident_memory_bytes",] > 1e7
        gallery.remove("red light")
        metrics.status(told())
        found = read_metrics(metrics.url)
        assert found["maclip_gallery_classes",] == 1
        assert found["maclip_source_state", CAMERA, "running"] == 1
    with pytest.raises(OSError, match="refused"):
        read_metrics(metrics.url)


def test_metrics_refuse_bad_addresses() -> None:
    pytest.importorskip("prometheus_client")
    assert parse_address("9100") == ("127.0.0.1", 9100)
    assert parse_address("[::1]:0") == ("::1", 0)
    for address in ["", "x", "1.2.3.4", "host:", ":9100", "host:70000", "host:-1"]:
        with pytest.raises(MaclipError) as refused:
            Metrics(address)
        assert refused.value.code == "address-invalid"
    with Metrics("0") as first, pytest.raises(MaclipError) as refused:
        Metrics(first.url.split("/")[2])
    assert refused.value.code == "address-taken"
    first.close()  # twice is once


def test_metrics_without_the_library_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MaclipError) as missing:
        Metrics("0")
    assert (missing.value.code, missing.value.exit_code) == ("metrics-missing", EXIT_MACHINE_LACKS)


@pytest.mark.usefixtures("clean_logging")
def test_json_logs_have_fields_and_no_passwords() -> None:
    stream = io.StringIO()
    configure_logs("json", stream)
    event_logger = EventLogger()
    event_logger.status(told())
    event_logger.status(told(frames=91))  # no change of state
    event_logger.status(told(SourceState.STALLED))
    event_logger.event(START)
    event_logger.event(Event("update", "waving", 0.9, 0.5, 1.0, 2.0, CAMERA))
    log = logging.getLogger("maclip")
    log.info("opening %s, then http://u:secret@h/?key=secret", "rtsp://me:secret@camera/1")
    try:
        raise OSError("cannot open 'mqtt://me:secret@host/a'")
    except OSError:
        log.exception("failed\nbadly")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines[:3]] == ["source running", "source stalled", "event start"]
    assert [line["level"] for line in lines] == ["info", "warning", "info", "info", "error"]
    assert (lines[1]["source"], lines[1]["problem"], lines[1]["dropped"]) == (CAMERA, "timed out", 10)
    assert (lines[2]["label"], lines[2]["score"], lines[2]["start_s"]) == (START.label, 0.9, 1.0)
    assert (lines[2]["match"], lines[2]["id"]) == (0.75, "1f")
    assert "camera/1" in lines[3]["message"]
    assert "OSError" in lines[4]["exception"]
    assert all(line["time"].endswith("Z") and line["logger"] == "maclip" for line in lines)
    assert "secret" not in stream.getvalue()


@pytest.mark.usefixtures("clean_logging")
def test_text_logs_are_one_line_a_record() -> None:
    stream = io.StringIO()
    configure_logs("text", stream)
    EventLogger().event(START)
    logging.getLogger("maclip").warning("a name\nwith breaks %s", "\udcff")
    first, second = stream.getvalue().splitlines()
    assert " INFO    event start source=rtsp://***@camera/1 label=" in first
    assert '"wa\\"v\\ning"' in first
    assert second.endswith("WARNING a name\\nwith breaks \\udcff")


def test_status_says_what_matters_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    board = StatusBoard([Outlet()])
    assert board.line() == "opening"
    for index in range(3):
        board.frame(CAMERA, frame(index))
    board.verdict(CAMERA, VERDICT, 0.0, 1.0)
    board.event(START)
    board.event(Event("update", "waving", 0.9, 0.5, 1.0, 2.0, CAMERA))
    board.status(told())
    line = board.line()
    assert "\n" not in line
    for part in ["running", "frames/s", "answer in ", "10 of 100 frames dropped", "2 reconnects", "3 dropped"]:
        assert part in line
    assert "start 'wa\"v\\ning' match 0.75" in line
    board.status(told(SourceState.LOST, "rtsp://***@camera/2"))
    assert board.line().startswith("1 running, 1 lost for 7 s (rtsp://***@camera/2: timed out)")


def test_status_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = [100.0]
    monkeypatch.setattr(status.time, "monotonic", lambda: now[0])
    board = StatusBoard(say=said.append)
    for second in range(25):
        now[0] = 100.0 + second
        board.status(told())
    assert len(said) == 2
    assert said[0].startswith("running")
