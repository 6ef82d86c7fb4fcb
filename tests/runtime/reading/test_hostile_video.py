"""Broken and hostile video: an answer or an error in plain words, never a crash, a hang or a flood of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import pytest
from videos import color_video

MUTATIONS, PROCESSES = 500, 2
READER = Path(__file__).with_name("hostile_reader.py")
REAL = [
    "mmaction2_demo/demo__demo.mp4",
    "mmaction2_demo/demo__demo_spatiotemporal_det.mp4",
    "mmaction2_demo/tests__data__test.avi",
    "mmaction2_demo/demo__test_video_structuralize.mp4",
]
PACKETS = 20  # of a real clip: enough to go wrong, and quick


def shorten(path: Path, out: Path) -> Path:
    """The first pictures of a video with their own codec and container, not encoded again."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.dts is None or number >= PACKETS:
                break
            packet.stream = stream
            target.mux(packet)
    return out


@pytest.fixture
def short_clips(tmp_path: Path, request: pytest.FixtureRequest) -> list[Path]:
    folder = tmp_path / "clips"
    folder.mkdir()
    drawn = [color_video(folder / f"drawn{end}", [("red", 1.0), ("blue", 1.0)]) for end in (".mp4", ".mkv")]
    shared = Path(__file__).parents[4] / "shared" / "data"
    return drawn + [shorten(shared / name, folder / Path(name).name) for name in REAL if (shared / name).is_file()]


def test_mutated_clips_are_read_or_refused(bundle: Path, short_clips: list[Path], tmp_path: Path) -> None:
    """500 of them. A failure names its seed: `python hostile_reader.py WORK BUNDLE SEED SEED+1 CLIP...`."""
    home = tmp_path / "home"
    home.mkdir()
    share = MUTATIONS // PROCESSES
    begun = []
    for number in range(PROCESSES):
        work = tmp_path / f"work{number}"
        work.mkdir()
        span = [str(number * share), str((number + 1) * share)]
        command = [sys.executable, str(READER), str(work), str(bundle), *span, *map(str, short_clips)]
        environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(READER.parents[3] / "runtime")}
        begun.append(
            subprocess.Popen(
                command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    outcomes: Counter[str] = Counter()
    for process in begun:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"seed {out.split()[-2:]}: exit {process.returncode}\n{err[-2000:]}"
        outcomes.update(line.split()[1] for line in out.splitlines())
    assert outcomes.pop("begun") == sum(outcomes.values()) == MUTATIONS
    assert set(outcomes) <= {"read", "clip-unreadable", "clip-too-short", "video-too-large"}, outcomes
    assert outcomes["read"] > MUTATIONS / 5  # most damage is survived
    assert outcomes["clip-unreadable"] > MUTATIONS / 20
    assert not list(home.rglob("*"))  # nothing was written where nothing belongs
    for number in range(PROCESSES):
        names = {file.name for file in (tmp_path / f"work{number}").iterdir()}
        assert names <= {"gallery.db", "gallery.db-wal", "gallery.db-shm", "mutated.mp4", "mutated.mkv", "mutated.avi"}
