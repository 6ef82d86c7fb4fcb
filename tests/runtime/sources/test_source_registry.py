"""How a source is found by its address: the package's own, a program's, and what the look-up costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn_camera import Camera, camera_frames

from maclip_runtime import Frame, Recognizer
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import SequentialSource, SourceOptions, is_live, open_source, source
from maclip_runtime.sources.registry import SOURCES


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    is_live("0")  # the package's own are registered
    monkeypatch.setattr(SOURCES, "_kinds", list(SOURCES._kinds))


class RobotCamera(Camera):
    def __init__(self, uri: str, options: SourceOptions) -> None:
        super().__init__(uri, camera_frames(("red", 1.0)))
        self.stall_s = options.stall_s


def test_a_registered_class_is_opened_with_its_address_and_options() -> None:
    source("Robot", live=True)(RobotCamera)
    for uri in ("robot://head", "ROBOT://head"):
        with open_source(uri, SourceOptions(stall_s=3.0)) as opened:
            assert isinstance(opened, RobotCamera)
            assert (opened.name, opened.stall_s) == (uri, 3.0)
            assert len(list(opened)) == 10
        assert is_live(uri)


def test_an_address_without_a_scheme_may_be_matched() -> None:
    source(matches=lambda uri: uri.startswith("arm-"), forms=("arm-NUMBER",))(RobotCamera)
    with open_source("arm-1") as opened:
        assert isinstance(opened, RobotCamera)
    assert not is_live("arm-1")
    with pytest.raises(MaclipError, match="arm-NUMBER") as caught:
        open_source("leg://1")
    assert caught.value.code == "source-unknown"


def run(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_may_replace_what_the_package_offers() -> None:
    """Also where it registers before the package's own kinds are loaded, at the first look-up."""
    source("rtsp", live=True)(RobotCamera)
    with open_source("rtsp://camera/1") as opened:
        assert isinstance(opened, RobotCamera)
    program = (
        "from maclip_runtime.sources import open_source, source\n"
        "source('rtsp')(lambda uri, options: 'opened ' + uri)\n"
        "print(open_source('rtsp://camera/1'))\n"
    )
    assert run(program) == "opened rtsp://camera/1\n"


def test_what_is_no_file_is_not_read_as_a_whole_clip(bundle: Path, enrolled: Path) -> None:
    """Neither where a clip is asked for, nor where a source ends before its first window."""

    @source("short")
    class Short(SequentialSource):
        def __init__(self, uri: str, options: SourceOptions) -> None:
            super().__init__(uri)

        def produce(self) -> Iterator[Frame]:
            return iter(camera_frames(("red", 0.3)))

    with Recognizer.open(bundle, enrolled) as recognizer:
        for read in (recognizer.classify, lambda uri: list(recognizer.watch(uri))):
            with pytest.raises(MaclipError, match="short://me cannot be read as a whole clip") as caught:
                read("short://me")
            assert caught.value.code == "clip-unreadable"


def test_the_error_lists_each_form_once() -> None:
    with pytest.raises(MaclipError) as caught:
        open_source("ftp://me:secret@a/b")
    forms = caught.value.fix.removeprefix("Use one of: ").removesuffix(".").split(", ")
    assert len(forms) == len(set(forms))
    assert set(forms) >= {"a path", "file://", "0", "/dev/video0", "csi://0", "rtsp://", "rtsps://", "http://"}
    assert "secret" not in str(caught.value)


def test_a_file_in_the_folder_is_found_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "robot.py").write_text(
        "from maclip_runtime.sources import source\n"
        "@source('robot')\n"
        "def open_robot(uri, options):\n"
        "    return 'opened ' + uri\n"
    )
    program = (
        "import sys\n"
        "from maclip_runtime.sources import kinds, open_source\n"
        "kinds.__path__.append(sys.argv[1])\n"
        "print(open_source('robot://1'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "opened robot://1\n", done.stderr


def test_finding_a_kind_imports_no_driver() -> None:
    program = (
        "import sys\n"
        "from maclip_runtime.sources import is_live\n"
        "from maclip_runtime.sinks.registry import SINKS\n"
        "is_live('rtsp://camera'), SINKS.find('mqtt://host/topic')\n"
        "print({'av', 'cv2', 'gi', 'paho', 'onnxruntime', 'sqlite3', 'importlib.metadata'} & set(sys.modules))\n"
    )
    assert run(program) == "set()\n"
