"""Pipelines of GStreamer, made of software elements: pictures, times, and what is said where one is wrong or dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
from videos import color_frames

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import SourceOptions, is_live, open_source, redact
from maclip_runtime.sources.gst_child import ends_in_appsink, launch
from maclip_runtime.sources.kinds import gst

HAS_GI = (
    Path(gst.SYSTEM_PYTHON).exists()
    and subprocess.run(
        [gst.SYSTEM_PYTHON, "-Ic", "import gi; gi.require_version('GstApp', '1.0')"], capture_output=True, check=False
    ).returncode
    == 0
)
needs_gi = pytest.mark.skipif(not HAS_GI, reason="the system's Python has no bindings of GStreamer")
CAMERA = "gst:videotestsrc is-live=true pattern=blue ! video/x-raw,width=21,height=14,framerate=20/1 ! appsink"


def children() -> list[int]:
    """The processes that read pipelines for this one. Other tests may have left theirs: a pool, a resource tracker."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return sorted(pid for pid in found if b"gst_child" in _command(pid))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it has ended


def motion_jpeg(path: Path, frames: np.ndarray) -> Path:
    """A video that GStreamer decodes without further plug-ins, 20 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@needs_gi
def test_a_live_pipeline_gives_its_pictures_with_its_times() -> None:
    assert is_live(CAMERA)
    with open_source(CAMERA) as source:
        frames = [source.read(10) for _ in range(5)]
        assert all(frames)
        assert source.name == CAMERA
    assert frames[0].pixels.shape == (14, 21, 3)  # rows of 63 bytes, which GStreamer pads
    blue = frames[4].pixels.reshape(-1, 3)
    assert blue[:, 2].min() > 230
    assert blue[:, :2].max() < 20
    assert 0.15 < frames[4].time_s < 0.6


@needs_gi
def test_a_file_is_played_to_its_end_and_may_go_as_fast_as_it_is_read(tmp_path: Path) -> None:
    video = motion_jpeg(tmp_path / "a b.avi", color_frames("red", 20))
    with open_source(f'gst:filesrc location="{video}" ! decodebin ! appsink sync=false drop=false') as source:
        frames = list(source)
        assert source.status.state.value == "ended"
        assert source.status.problem == ""
    assert frames[0].pixels.shape == (48, 64, 3)
    assert len(frames) + source.status.dropped == 20


@needs_gi
@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ("videotestsrc ! nosuchelement ! appsink", "nosuchelement"),
        ("videotestsrc pattern=nonsense ! appsink", "nonsense"),
        ("appsink", "syntax error"),
        ("videotestsrc ! audioconvert ! appsink", "link"),
    ],
)
def test_what_cannot_be_built_is_said_at_once(pipeline: str, says: str) -> None:
    with pytest.raises(MaclipError, match=says) as caught:
        open_source(f"gst:{pipeline}")
    assert caught.value.code == "pipeline-invalid"
    assert "gst-launch-1.0" in caught.value.fix
    assert not children()


@pytest.mark.parametrize(
    "address", ["gst:", "gst:videotestsrc", "gst:appsink ! fakesink", "gst:videotestsrc ! myappsink"]
)
def test_a_pipeline_must_end_in_appsink(address: str) -> None:
    with pytest.raises(MaclipError, match="does not end in appsink") as caught:
        open_source(address)
    assert caught.value.code == "pipeline-invalid"


@needs_gi
def test_a_pipeline_that_does_not_start_is_lost(tmp_path: Path) -> None:
    with pytest.raises(MaclipError, match="cannot be opened") as caught:
        open_source(f"gst:filesrc location={tmp_path}/none ! decodebin ! appsink")
    assert caught.value.code == "source-lost"
    assert not children()


@needs_gi
def test_a_pipeline_that_dies_or_breaks_is_opened_again() -> None:
    with open_source(CAMERA) as source:
        assert source.read(10)
        (process,) = children()
        os.kill(process, signal.SIGKILL)
        restarted = next(frame for frame in source if frame.restarted)
        assert restarted.time_s > 0
        assert source.status.reconnects == 1
        assert "died" in source.status.problem
    assert not children()
    breaks = "gst:videotestsrc is-live=true ! identity error-after=3 ! video/x-raw,framerate=30/1 ! appsink"
    with open_source(breaks, SourceOptions(reconnects=0)) as source, pytest.raises(MaclipError) as caught:
        list(source)
    assert caught.value.code == "source-lost"
    assert "stopped sending" in caught.value.message


@needs_gi
def test_a_pipeline_that_falls_silent_is_opened_again() -> None:
    with open_source(CAMERA, SourceOptions(stall_s=0.5)) as source:
        assert source.read(10)
        (process,) = children()
        os.kill(process, signal.SIGSTOP)
        assert next(frame for frame in source if frame.restarted)
        assert "sent no picture" in source.status.problem
    deadline = time.monotonic() + 10
    while children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not children()  # the one that hung was killed


def test_without_bindings_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gst, "SYSTEM_PYTHON", str(tmp_path / "none"))
    monkeypatch.setattr(gst, "find_spec", lambda name: None)
    with pytest.raises(MaclipError, match="cannot be used") as caught:
        open_source(CAMERA)
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", 3)
    stand_in = tmp_path / "none"
    stand_in.write_text(f'#!/bin/sh\nexec {gst.sys.executable} -S "$@"\n')  # a Python without them
    stand_in.chmod(0o755)
    with pytest.raises(MaclipError, match="No module named 'gi'") as caught:
        open_source(CAMERA)
    assert "apt install python3-gi" in caught.value.fix


def test_options_of_the_appsink_stay_and_only_the_last_element_counts() -> None:
    assert launch("a ! appsink sync=false max-buffers=3") == (
        "a ! videoconvert ! video/x-raw,format=RGB ! appsink drop=true max-buffers=1 sync=false max-buffers=3"
    )
    assert ends_in_appsink("a ! b name=appsink ! appsink")
    assert not ends_in_appsink("a ! appsink ! b")


def test_addresses_and_passwords_inside_a_pipeline_are_not_shown() -> None:
    pipeline = "gst:rtspsrc location=rtsp://me:secret@cam/1 latency=0 ! decodebin ! appsink"
    assert redact(pipeline) == "gst:rtspsrc location=rtsp://***@cam/1 latency=0 ! decodebin ! appsink"
    other = 'arm=gst:rtspsrc user-id=me user-pw="se cret" location=rtsp://cam/1?token=abc ! appsink'
    assert redact(other) == "arm=gst:rtspsrc user-id=*** user-pw=*** location=rtsp://cam/1?token=*** ! appsink"
    with pytest.raises(MaclipError) as caught:
        open_source("gst:rtspsrc location=rtsp://me:secret@cam/1 user-pw=word ! fakesink")
    assert "secret" not in str(caught.value)
    assert "word" not in str(caught.value)
