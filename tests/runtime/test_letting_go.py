"""What is closed is let go of at once: threads and files do not wait for a garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from maclip_runtime import Recognizer, open_source, read_clip
from maclip_runtime.reading.frames import segment_indices
from maclip_runtime.tools.bench.drawn import draw_video

TASKS, FILES = Path("/proc/self/task"), Path("/proc/self/fd")
TIMES = 6

pytestmark = pytest.mark.skipif(not TASKS.is_dir(), reason="threads and files are counted in /proc")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264, whose decoder starts threads."""
    return draw_video(tmp_path_factory.mktemp("video") / "drawn.mp4", 1.0, seed=0)


@pytest.fixture
def held() -> Iterator[list[int]]:
    """How many threads and files there are before, with the collector off until the test is over."""
    gc.collect()
    gc.disable()
    try:
        yield counts()
    finally:
        gc.enable()


def counts() -> list[int]:
    return [len(list(folder.iterdir())) for folder in (TASKS, FILES)]


def assert_let_go(held: list[int]) -> None:
    assert all(now - before < TIMES for now, before in zip(counts(), held, strict=True)), (held, counts())


def test_source_that_is_closed_half_way_keeps_nothing(video: Path, held: list[int]) -> None:
    kept = []
    for _ in range(TIMES):
        with open_source(video) as source:
            kept.append(source.read())
    assert_let_go(held)
    assert all(frame is not None and frame.pixels.any() for frame in kept)  # a frame outlives its source


def test_source_that_is_read_to_its_end_keeps_nothing(video: Path, held: list[int]) -> None:
    for _ in range(TIMES):
        with open_source(video) as source:
            assert sum(1 for _ in source) == 30
    assert_let_go(held)


def test_clips_keep_nothing(video: Path, held: list[int]) -> None:
    for _ in range(TIMES):
        read_clip(video, lambda total: segment_indices(total, 4))
    assert_let_go(held)


def test_watch_that_is_left_half_way_keeps_nothing(bundle: Path, gallery: Path, video: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("one", video, no_text=True, force=True)
        for _ in recognizer.watch(video, window_s=0.2, hop_s=0.1):
            break
        gc.collect()
        gc.disable()
        try:
            before = counts()
            for _ in range(TIMES):
                for _ in recognizer.watch([video, video], window_s=0.2, hop_s=0.1):
                    break
            assert_let_go(before)
        finally:
            gc.enable()
