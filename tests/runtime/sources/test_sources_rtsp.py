"""A real RTSP server on the loopback: stopped, started again, frozen, slowed; watched through one source."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import rtsp_server
from rtsp_server import RtspServer, age_s

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Frame, Source, SourceOptions, SourceState, open_source

pytestmark = pytest.mark.skipif(not rtsp_server.is_here(), reason="no GStreamer RTSP server (gi) on this machine")

PATIENCE = 20.0  # seconds, for a busy machine


def read_until(source: Source, wanted: Callable[[Frame], bool]) -> Frame:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        frame = source.read(0.2)
        if frame is not None and wanted(frame):
            return frame
    raise AssertionError(f"never came: {source.status}")


def wait_for(source: Source, *states: SourceState) -> None:
    end = time.monotonic() + PATIENCE
    while source.status.state not in states:
        assert time.monotonic() < end, source.status
        time.sleep(0.01)


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_frames_come_again_within_two_seconds_of_the_servers_return(codec: str) -> None:
    with RtspServer("--codec", codec) as server, open_source(server.url) as source:
        before = read_until(source, lambda frame: frame.index == 5)
        server.kill()
        wait_for(source, SourceState.LOST)
        time.sleep(0.7)  # the tries have become rare by now
        server.start()
        back = time.monotonic()
        frame = read_until(source, lambda frame: frame.restarted)
        assert time.monotonic() - back < 2.0
        assert frame.time_s > before.time_s + 0.7
        assert age_s(frame.pixels) < 1.0
        assert not read_until(source, lambda _: True).restarted
        status = source.status
    assert (status.state, status.reconnects) == (SourceState.RUNNING, 1)
    assert status.problem
    assert source.status.state is SourceState.ENDED


def test_a_short_freeze_is_a_stall_and_a_long_one_a_loss() -> None:
    with RtspServer("--codec", "h264") as server, open_source(server.url, SourceOptions(stall_s=2.0)) as source:
        read_until(source, lambda frame: frame.index == 5)
        server.freeze()
        wait_for(source, SourceState.STALLED)
        assert "sent no picture" in source.status.problem
        server.thaw()
        frame = read_until(source, lambda _: source.status.state is SourceState.RUNNING)
        assert not frame.restarted
        server.freeze()
        frozen = time.monotonic()
        wait_for(source, SourceState.LOST, SourceState.CONNECTING)
        assert 1.5 < time.monotonic() - frozen < 3.8  # once stall_s, not twice
        server.thaw()
        assert read_until(source, lambda frame: frame.restarted).time_s > frame.time_s


def test_a_slow_reader_gets_the_newest_frame_and_no_growing_lag() -> None:
    with RtspServer("--rate", "50") as server, open_source(server.url) as source:
        read_until(source, lambda _: True)
        ages, times = [], []
        for _ in range(10):
            time.sleep(0.2)
            frame = source.read(PATIENCE)
            assert frame is not None
            ages.append(age_s(frame.pixels))
            times.append(frame.time_s)
        assert max(ages) < 0.5  # a queue would be 1.8 s behind
        assert source.status.dropped > 40
        assert times[-1] - times[0] == pytest.approx(1.8, abs=0.4)
        server.set_rate(4)
        time.sleep(0.4)
        ages = [age_s(read_until(source, lambda _: True).pixels) for _ in range(5)]
        assert max(ages) < 0.5
        assert source.status.state is SourceState.RUNNING


def test_a_camera_without_tcp_is_read_by_udp() -> None:
    with RtspServer("--udp") as server, open_source(server.url) as source:
        assert age_s(read_until(source, lambda frame: frame.index == 3).pixels) < 1.0


def test_a_wrong_password_is_told_at_once_and_never_shown() -> None:
    with RtspServer("--user", "me", "--password", "c0rrect") as server:
        with pytest.raises(MaclipError, match="401") as caught:
            open_source(server.url.replace("//", "//me:wr0ng@"))
        assert caught.value.code == "source-lost"
        with open_source(server.url.replace("//", "//me:c0rrect@")) as source:
            read_until(source, lambda _: True)
            server.kill()
            wait_for(source, SourceState.LOST)
            shown = f"{source.status} {source.name} {caught.value!r} {caught.value.__context__}"
    assert "***@127.0.0.1" in source.name
    assert "c0rrect" not in shown
    assert "wr0ng" not in shown


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts handles in /proc")
def test_reconnecting_keeps_threads_and_handles() -> None:
    with RtspServer() as server, open_source(server.url) as source:
        read_until(source, lambda _: True)
        counts = []
        for _ in range(6):
            server.kill()
            server.start()
            read_until(source, lambda frame: frame.restarted)
            counts.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
        assert len(set(counts)) == 1, counts
        assert source.status.reconnects == 6
    assert not any(thread.name.startswith("maclip rtsp") for thread in threading.enumerate())
