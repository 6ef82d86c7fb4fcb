"""CSI cameras of a Jetson: a GStreamer pipeline, read through OpenCV, or in a child as `gst:` is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost
from maclip_runtime.sources.kinds.gst import GstConnection
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

MAX_FAILED_READS = 100  # by OpenCV in a row, 10 ms apart, before the camera counts as lost

# Only the newest picture is kept, and none waits for its time: a slow reader must not build a queue.
SINK = "appsink drop=true max-buffers=1 sync=false"


@source("csi", live=True, forms=("csi://0",))
def open_csi(uri: str, options: SourceOptions) -> LiveSource:
    """The camera `csi://NUMBER`. Raises `source-unknown`, `source-lost`, `device-missing`."""
    sensor = uri.partition("://")[2].strip("/")
    if not sensor.isdecimal():
        raise MaclipError("source-unknown", f"{uri} names no camera.", "Give its number: csi://0.")
    return LiveSource(f"csi://{int(sensor)}", partial(connect_csi, int(sensor)), options=options)


def camera(sensor: int) -> str:
    """The beginning of GStreamer's pipeline for camera `sensor`, up to pictures in the system's memory."""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM) ! nvvidconv ! video/x-raw,format=BGRx "
        "! videoconvert"
    )


def connect_csi(sensor: int, open_s: float) -> Connection:
    """Open camera `sensor`. Raises `device-missing` without GStreamer, `ConnectionLost`."""
    if _opencv_reads_gstreamer():
        return OpenCvConnection(f"{camera(sensor)} ! video/x-raw,format=BGR ! {SINK}")
    try:
        return GstConnection(f"{camera(sensor)} ! {SINK}", open_s)
    except MaclipError as error:  # no bindings, or no nvarguscamerasrc
        raise _lacking(error.message.rstrip(".")) from error


class OpenCvConnection(Connection):
    """A pipeline whose appsink gives BGR pictures, read by an OpenCV that was built with GStreamer."""

    def __init__(self, launch: str) -> None:
        import cv2

        self._capture: Any = cv2.VideoCapture(launch, cv2.CAP_GSTREAMER)
        if not self._capture.isOpened():
            self._capture.release()
            raise ConnectionLost("cannot be opened (OpenCV's GStreamer did not start the pipeline)")

    def arrivals(self) -> Iterator[Arrival | None]:
        """Pictures as they arrive, without stamps. Raises `ConnectionLost`."""
        failed = 0
        while failed < MAX_FAILED_READS:
            there, picture = self._capture.read()
            if there:
                failed = 0
                yield Arrival(partial(_turn_rgb, picture), None)
            else:
                failed += 1
                yield None
                time.sleep(0.01)
        raise ConnectionLost("stopped sending")

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def _turn_rgb(picture: Pixels) -> Pixels:
    return np.ascontiguousarray(picture[:, :, ::-1])


def _opencv_reads_gstreamer() -> bool:
    try:
        import cv2
    except ImportError:
        return False
    lines = cv2.getBuildInformation().splitlines()
    return any(line.split(":")[0].strip() == "GStreamer" and "YES" in line for line in lines)


def _lacking(why: str) -> MaclipError:
    return MaclipError(
        "device-missing",
        f"A CSI camera cannot be read: {why}.",
        "On a Jetson: sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base; or an OpenCV "
        "that was built with GStreamer.",
        EXIT_MACHINE_LACKS,
    )
