"""Any pipeline of GStreamer that ends in `appsink`, run by a child in a Python that has GStreamer's bindings."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.video import MAX_PIXELS
from maclip_runtime.redaction import redact, redact_text
from maclip_runtime.sources import gst_child as child
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

SYSTEM_PYTHON = "/usr/bin/python3"  # where Debian, Ubuntu and JetPack install the bindings
POLL_SECONDS = 0.2  # without a message, before the reader may stop
CLOSE_SECONDS = 2.0  # for the child to stop its pipeline; then it is killed
VERSION_SECONDS = 20.0  # to ask for the version
VERSION = (
    "import gi; gi.require_version('GstApp', '1.0'); from gi.repository import Gst, GstApp; "
    "Gst.init(None); print(Gst.version_string())"
)
MAX_MESSAGE_BYTES = MAX_PIXELS * 3 + child.SIZE.size


@source("gst", live=True, forms=("gst:PIPELINE ! appsink",))
def open_gst(uri: str, options: SourceOptions) -> LiveSource:
    """The pipeline at `gst:PIPELINE`, as `gst-launch-1.0` takes it.

    Raises `pipeline-invalid`, `device-missing` without GStreamer, `source-lost` where it does not start.
    """
    pipeline = uri[len("gst:") :].removeprefix("//").strip()
    if not child.ends_in_appsink(pipeline):
        raise MaclipError(
            "pipeline-invalid",
            f"The pipeline {redact(uri)} does not end in appsink.",
            "Write gst:… ! appsink, for instance 'gst:v4l2src device=/dev/video0 ! decodebin ! appsink'.",
        )
    return LiveSource(uri, partial(GstConnection, pipeline), options=options)


def gstreamer_version() -> str:
    """The version of the GStreamer that `gst:` and `csi:` use; "" where it, or its Python bindings, are missing."""
    try:
        command = [_python(), "-Ic", VERSION]
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_SECONDS, check=True)
    except (MaclipError, OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


class GstConnection(Connection):
    """A child that runs a pipeline. It dies alone where a plug-in crashes."""

    def __init__(self, pipeline: str, open_s: float) -> None:
        """Start it. Raises `pipeline-invalid`, `device-missing`, `ConnectionLost`."""
        self._pipeline = pipeline
        self._process = subprocess.Popen(
            [_python(), "-I", child.__file__, pipeline],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this program, which then closes the child
        )
        try:
            self._start(time.monotonic() + open_s, open_s)
        except BaseException:
            self.close()
            raise

    def arrivals(self) -> Iterator[Arrival | None]:
        """Pictures as they arrive, stamped by the pipeline; ends where a file does. Raises `ConnectionLost`."""
        for what, body in self._messages():
            if what == child.PICTURE:
                width, height, stamp_ns = child.SIZE.unpack_from(body)
                yield Arrival(partial(_pixels, body, width, height), None if stamp_ns < 0 else stamp_ns / 1e9)
            elif what == child.END:
                return
            elif what == child.LOST:
                raise ConnectionLost(f"stopped sending ({_shown(body)})")
            else:
                yield None

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:  # a driver that hangs
            self._process.kill()
            self._process.wait()

    def _start(self, until: float, open_s: float) -> None:
        for what, body in self._messages():
            if what == child.PLAYING:
                return
            if what == child.MISSING:
                raise _lacking(_shown(body))
            if what == child.INVALID:
                raise MaclipError(
                    "pipeline-invalid",
                    f"GStreamer cannot build the pipeline ({_shown(body)}).",
                    "Try it with gst-launch-1.0 and fakesink in place of appsink; gst-inspect-1.0 shows elements.",
                )
            if what == child.LOST:
                raise ConnectionLost(f"cannot be opened ({_shown(body)})")
            if time.monotonic() > until:
                raise ConnectionLost(f"cannot be opened (the pipeline did not start within {open_s:g} s)")

    def _messages(self) -> Iterator[tuple[bytes, bytearray]]:
        """What the child says; `IDLE` where it is silent. Raises `ConnectionLost` where it has died."""
        while True:
            header = yield from self._received(child.HEADER.size)
            what, length = child.HEADER.unpack(header)
            if length > MAX_MESSAGE_BYTES:
                raise ConnectionLost("sends pictures that are too large")
            body = yield from self._received(length)
            yield what, body

    def _received(self, count: int) -> Generator[tuple[bytes, bytearray], None, bytearray]:
        """Returns `count` bytes; yields `IDLE` while they do not come."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        made = bytearray(count)
        left = memoryview(made)
        while left:
            if not select.select([pipe], [], [], POLL_SECONDS)[0]:
                yield child.IDLE, bytearray()
                continue
            read = os.readv(pipe, [left])
            if not read:
                raise ConnectionLost("stopped sending (its pipeline died)")
            left = left[read:]
        return made


def _pixels(body: bytearray, width: int, height: int) -> Pixels:
    return np.frombuffer(body, np.uint8, offset=child.SIZE.size).reshape(height, width, 3)


def _shown(body: bytearray) -> str:
    return redact_text(body.decode("utf-8", "replace").strip()).rstrip(".")


def _python() -> str:
    """A Python that may have GStreamer's bindings: this one, or the system's. Raises `device-missing`."""
    if find_spec("gi") is not None:
        return sys.executable
    if Path(SYSTEM_PYTHON).exists():
        return SYSTEM_PYTHON
    raise _lacking("there is no Python of the system")


def _lacking(why: str) -> MaclipError:
    return MaclipError(
        "device-missing",
        f"GStreamer's Python bindings cannot be used ({why.rstrip('.')}).",
        "Install them: sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base.",
        EXIT_MACHINE_LACKS,
    )
