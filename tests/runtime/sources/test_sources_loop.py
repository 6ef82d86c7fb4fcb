"""A video played in a loop, as if it were a camera."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from bag_files import color_bag
from videos import color_frames, color_video

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import is_live, open_source


def test_a_video_goes_on_from_its_beginning_at_its_own_pace(tmp_path: Path) -> None:
    video = color_video(tmp_path / "short.mp4", [("red", 0.3), ("green", 0.3)], rate=20)
    address = f"loop://{video}"
    assert is_live(address)
    times, colours = [], []
    with open_source(address) as source:
        while not times or times[-1] < 1.3:
            frame = source.read(timeout_s=5.0)
            assert frame is not None
            assert not frame.restarted
            times.append(frame.time_s)
            colours.append(int(frame.pixels.mean(axis=(0, 1)).argmax()))
    assert times == sorted(times)
    changes = [at for at, (one, other) in enumerate(itertools.pairwise(colours)) if one != other]
    assert len(changes) >= 3  # red, green, red, green, ...
    assert abs(times[changes[2] + 1] - times[changes[0] + 1] - 0.6) < 0.15


def test_a_recording_of_ros_is_played_too(tmp_path: Path) -> None:
    with open_source(f"loop://bag:{color_bag(tmp_path / 'run.mcap', color_frames('red', 3), rate=20)}") as source:
        assert any(frame.time_s > 0.11 for frame in itertools.islice(source, 100))  # the recording lasts 0.1 s


@pytest.mark.parametrize("address", ["loop://0", "loop://rtsp://camera/1"])
def test_a_camera_is_not_played_again(address: str) -> None:
    with pytest.raises(MaclipError, match="it is no recording"):
        open_source(address)


def test_a_video_that_cannot_be_played_is_said(tmp_path: Path) -> None:
    with pytest.raises(MaclipError, match="cannot be played") as caught:
        open_source(f"loop://{tmp_path / 'none.mp4'}")
    assert caught.value.code == "source-lost"
