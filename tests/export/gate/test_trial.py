"""The clips that an export is tried on: what cannot be read is left out, counted, and replaced by others."""

from __future__ import annotations

from pathlib import Path

import pytest
from videos import color_video

import maclip
from maclip.data.dataset import open_folders
from maclip.model.maclip import MaClip
from maclip_export.gate.trial import gate_clips
from maclip_runtime.errors import MaclipError

COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def model() -> MaClip:
    return maclip.build("tiny", "none", frames=2, adapters="none", prototype="none")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three classes of three clips."""
    for name in COLORS:
        (tmp_path / "data" / name).mkdir(parents=True)
        for clip in range(3):
            color_video(tmp_path / "data" / name / f"{clip}.mp4", [(name, 1.0)], seed=clip)
    return tmp_path / "data"


def broken(*clips: Path) -> None:
    for clip in clips:
        clip.write_bytes(b"no video")


def test_the_next_clip_of_the_class_stands_in(data: Path, model: MaClip) -> None:
    whole = gate_clips(open_folders(data), model, 2)
    assert whole.source == "6 clips of 3 classes of data"
    broken(data / "blue" / "0.mp4")
    found = gate_clips(open_folders(data), model, 2)
    assert found.source == "6 clips of 3 classes of data (1 unreadable left out)"
    assert (found.names, found.sizes()) == (whole.names, [2, 2, 2])
    blue = found.frames[found.labels == found.names.index("blue")]
    assert (blue[0] == whole.frames[whole.labels == whole.names.index("blue")][1]).all()


def test_a_class_without_a_readable_clip_is_left_out(data: Path, model: MaClip) -> None:
    broken(*(data / "blue").iterdir())
    found = gate_clips(open_folders(data), model, 2)
    assert found.names == ("green", "red")
    assert found.source == "4 clips of 2 classes of data (3 unreadable left out)"


def test_where_too_little_is_readable_the_first_reason_is_told(data: Path, model: MaClip) -> None:
    broken(*(data / "blue").iterdir(), *(data / "red").iterdir())
    with pytest.raises(MaclipError) as caught:
        gate_clips(open_folders(data), model, 2)
    assert caught.value.code == "data-empty"
    assert str(data / "blue" / "0.mp4") in caught.value.message


def test_the_gate_never_moves_to_the_classes_of_training(data: Path, model: MaClip) -> None:
    """Where those that training did not see cannot be read, that is told."""
    for split, names in {"train": ("red", "green"), "test": ("blue", "white")}.items():
        for name in names:
            (data / split / name).mkdir(parents=True)
            for clip in range(2):
                color_video(data / split / name / f"{clip}.mp4", [("red", 1.0)], seed=clip)
    assert gate_clips(open_folders(data), model, 2).names == ("blue", "white")
    broken(*(data / "test" / "blue").iterdir())
    with pytest.raises(MaclipError) as caught:
        gate_clips(open_folders(data), model, 2)
    assert caught.value.code == "data-empty"
