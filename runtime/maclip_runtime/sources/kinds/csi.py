"""CSI cameras of a Jetson: a GStreamer pipeline, read through OpenCV or through GStreamer's Python bindings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

MAX_FAILED_READS = 100  # by OpenCV in a row, 10 ms apart, before the camera counts as lost
PULL_SECONDS = 0.2  # how long one read waits for GStreamer, so that the reader can stop

# Only the newest picture is kept: a slow reader must not build a queue.
SINK = "appsink name=sink drop=true max-buffers=1 sync=false"


@source("csi", live=True, forms=("csi://0",))
def open_csi(uri: str, options: SourceOptions) -> LiveSource:
    """The camera `csi://NUMBER`. Raises `source-unknown`, `source-lost`, `device-missing`."""
    sensor = uri.partition("://")[2].strip("/")
    if not sensor.isdecimal():
        raise MaclipError("source-unknown", f"{uri} names no camera.", "Give its number: csi://0.")
    return LiveSource(f"csi://{int(sensor)}", partial(connect_csi, int(sensor)), options=options)


def pipeline(sensor: int, pixels: str) -> str:
    """GStreamer's pipeline for camera `sensor`; its appsink gives `pixels`, "RGB" or "BGR"."""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM) ! nvvidconv ! video/x-raw,format=BGRx "
        f"! videoconvert ! video/x-raw,format={pixels} ! {SINK}"
    )


def connect_csi(sensor: int, open_s: float) -> Connection:
    """Open camera `sensor`. Raises `device-missing` without GStreamer, `ConnectionLost`."""
    if _opencv_reads_gstreamer():
        return OpenCvConnection(pipeline(sensor, "BGR"))
    return GstConnection(pipeline(sensor, "RGB"), open_s, needs="nvarguscamerasrc")


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


class GstConnection(Connection):
    """A pipeline whose appsink, named `sink`, gives RGB pictures, read through GStreamer's Python bindings."""

    def __init__(self, launch: str, open_s: float, needs: str) -> None:
        """Start the pipeline. Raises `device-missing`, `ConnectionLost`.

        launch: the pipeline as `gst-launch` takes it.
        open_s: seconds that starting may take.
        needs: the GStreamer element that must be installed.
        """
        self._gst = _import_gst()
        if self._gst.ElementFactory.find(needs) is None:
            raise _lacking(f"GStreamer has no {needs}")
        try:
            self._pipeline = self._gst.parse_launch(launch)
        except Exception as error:  # GLib's own error class, which is imported with gi
            raise _lacking(f"GStreamer cannot build the camera's pipeline ({error})") from None
        self._sink = self._pipeline.get_by_name("sink")
        self._pipeline.set_state(self._gst.State.PLAYING)
        changed, *_ = self._pipeline.get_state(int(open_s * self._gst.SECOND))
        if changed == self._gst.StateChangeReturn.FAILURE:
            self.close()
            raise ConnectionLost("cannot be opened (GStreamer did not start the pipeline)")

    def arrivals(self) -> Iterator[Arrival | None]:
        """Pictures as they arrive, stamped by the pipeline. Raises `ConnectionLost`."""
        while True:
            sample = self._sink.emit("try-pull-sample", int(PULL_SECONDS * self._gst.SECOND))
            if sample is not None:
                stamp = sample.get_buffer().pts
                known = stamp != self._gst.CLOCK_TIME_NONE
                yield Arrival(partial(_pixels, sample, self._gst), stamp / 1e9 if known else None)
            elif self._sink.get_property("eos") or self._failed():
                raise ConnectionLost("stopped sending")
            else:
                yield None

    def close(self) -> None:
        """Release the camera."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _failed(self) -> bool:
        return self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR) is not None


def _turn_rgb(picture: Pixels) -> Pixels:
    return np.ascontiguousarray(picture[:, :, ::-1])


def _pixels(sample: Any, gst: Any) -> Pixels:
    """An RGB sample as uint8 [H, W, 3]; GStreamer pads each row to 4 bytes."""
    structure = sample.get_caps().get_structure(0)
    width, height = structure.get_value("width"), structure.get_value("height")
    buffer = sample.get_buffer()
    row = (width * 3 + 3) // 4 * 4
    there, mapped = buffer.map(gst.MapFlags.READ)
    if not there:
        raise ConnectionLost("sends pictures that cannot be read")
    try:
        rows = np.frombuffer(mapped.data, np.uint8, count=row * height).reshape(height, row)
        return rows[:, : width * 3].reshape(height, width, 3).copy()
    finally:
        buffer.unmap(mapped)


def _opencv_reads_gstreamer() -> bool:
    try:
        import cv2
    except ImportError:
        return False
    lines = cv2.getBuildInformation().splitlines()
    return any(line.split(":")[0].strip() == "GStreamer" and "YES" in line for line in lines)


def _import_gst() -> Any:
    try:
        import gi  # type: ignore[import-not-found]

        gi.require_version("Gst", "1.0")
        from gi.repository import Gst  # type: ignore[import-not-found]
    except (ImportError, ValueError):
        raise _lacking("neither OpenCV with GStreamer nor GStreamer's Python bindings are installed") from None
    Gst.init(None)
    return Gst


def _lacking(why: str) -> MaclipError:
    return MaclipError(
        "device-missing",
        f"A CSI camera cannot be read: {why}.",
        "On a Jetson: sudo apt install python3-gi gstreamer1.0-plugins-base, and a virtual environment made with "
        "--system-site-packages.",
        EXIT_MACHINE_LACKS,
    )
