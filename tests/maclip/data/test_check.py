"""Every clip is read once before a training does, and what cannot be used is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from videos import color_frames, write_video

from maclip.data.check import check_clips
from maclip.data.dataset import open_folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in (("red/a.mp4", 20), ("red/b.mp4", 10), ("red/short.mp4", 3), ("green/a.mp4", 30)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_video(tmp_path / name, color_frames(name.split("/")[0], count))
    broken = (tmp_path / "red" / "a.mp4").read_bytes()[:200]
    (tmp_path / "green" / "broken.mp4").write_bytes(broken)
    return tmp_path


def test_lengths_counts_and_unusable_clips_are_reported(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check_clips(open_folders(root).classes, 4, lambda done, total: seen.append((done, total)))
    green, red = report.classes
    assert (green.name, green.clips, green.unreadable, green.frames) == ("green", 1, 1, (30, 30, 30))
    assert (red.clips, red.unreadable, red.frames) == (2, 1, (10, 15, 20))
    assert red.seconds == pytest.approx((1.0, 1.5, 2.0))
    assert [(Path(p.clip).name, p.code) for p in report.problems] == [
        ("broken.mp4", "clip-unreadable"),
        ("short.mp4", "clip-too-short"),
    ]
    assert seen[-1] == (5, 5)


def test_a_class_without_one_good_clip_is_reported(root: Path) -> None:
    shutil.rmtree(root / "red")
    (root / "green" / "a.mp4").write_bytes(np.zeros(100, np.uint8).tobytes())
    (green,) = check_clips(open_folders(root).classes, 4).classes
    assert (green.clips, green.unreadable, green.frames) == (0, 2, (0, 0, 0))
