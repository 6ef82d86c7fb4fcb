"""CSI cameras, without one: what is asked of GStreamer, both ways of reading it, what is said where it lacks."""

from __future__ import annotations

import builtins
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import SourceOptions, is_live, open_source
from maclip_runtime.sources.kinds.csi import connect_csi
from maclip_runtime.sources.kinds.gst import gstreamer_version


class Capture:
    """OpenCV's, which has opened a camera that gives three blue pictures and then none."""

    opened: ClassVar[list[tuple[object, ...]]] = []
    there = True

    def __init__(self, *arguments: object) -> None:
        self.opened.append(arguments)
        self.left = 3

    def isOpened(self) -> bool:
        return self.there

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.full((4, 6, 3), (255, 0, 0), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.left = 0


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> type[Capture]:
    information = "  Video I/O:\n    FFMPEG:                      NO\n    GStreamer:                   YES (1.20.3)\n"
    module = types.ModuleType("cv2")
    vars(module).update(VideoCapture=Capture, CAP_GSTREAMER=1800, getBuildInformation=lambda: information)
    monkeypatch.setitem(sys.modules, "cv2", module)
    monkeypatch.setattr(Capture, "opened", [])
    return Capture


def test_opencv_with_gstreamer_reads_the_sensors_newest_picture(opencv: type[Capture]) -> None:
    with open_source("csi://1", SourceOptions(reconnects=0)) as source:
        frame = source.read(10)
        assert frame is not None
        assert frame.pixels[0, 0].tolist() == [0, 0, 255]  # RGB
        assert source.name == "csi://1"
        with pytest.raises(MaclipError, match="stopped sending") as caught:
            list(source)
    assert caught.value.code == "source-lost"
    (pipeline, backend) = opencv.opened[0]
    assert backend == 1800
    assert str(pipeline).startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM) ! nvvidconv ! ")
    assert str(pipeline).endswith("video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false")


def test_a_camera_that_opencv_cannot_start_is_lost(opencv: type[Capture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencv, "there", False)
    with pytest.raises(MaclipError, match="did not start") as caught:
        open_source("csi://0")
    assert caught.value.code == "source-lost"


def test_what_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name in {"cv2", "gi"}:
            raise ImportError(name)
        return real(name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MaclipError, match="GStreamer") as caught:
        open_source("csi://0")
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", 3)
    assert "apt install" in caught.value.fix


def test_a_csi_camera_has_a_number() -> None:
    assert is_live("csi://0")
    with pytest.raises(MaclipError, match="names no camera"):
        open_source("csi://front")


def test_without_a_jetsons_elements_it_says_which_is_missing() -> None:
    """The pipeline runs as that of `gst:` does, for which test_sources_gst.py has real ones."""
    if not gstreamer_version():
        pytest.skip("GStreamer's Python bindings are not installed")
    with pytest.raises(MaclipError, match="nvarguscamerasrc") as caught:
        connect_csi(0, 10.0)
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", 3)
