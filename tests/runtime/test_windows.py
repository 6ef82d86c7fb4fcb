"""Windows over a stream: sampled by time, without gaps, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from maclip_runtime.frames import Pixels, segment_indices
from maclip_runtime.sources import Frame
from maclip_runtime.windows import slide


def numbered(count: int, rate: float, size: int = 1) -> Iterator[Frame]:
    for index in range(count):
        yield Frame(np.full((size, size, 3), index % 256, np.uint8), index / rate, index)


def same(frame: Pixels) -> Pixels:
    return frame


def test_segment_centres_are_taken_by_time() -> None:
    first = next(slide(numbered(100, 10.0), 4, 4.0, 1.0, same))
    assert first.frames[:, 0, 0, 0].tolist() == [5, 15, 25, 35]
    assert (first.start_s, first.end_s) == (0.0, 4.0)


@pytest.mark.parametrize(("count", "rate"), [(40, 10.0), (97, 25.0), (240, 30.0)])
def test_one_window_is_sampled_as_a_whole_clip(count: int, rate: float) -> None:
    window = next(slide(numbered(count, rate), 8, count / rate, 1.0, same))
    expected = segment_indices(count, 8)
    assert np.abs(window.frames[:, 0, 0, 0].astype(int) - expected).max() <= 1


def test_windows_cover_the_stream_without_gaps() -> None:
    windows = list(slide(numbered(100, 10.0), 4, 4.0, 1.0, same))
    assert [window.start_s for window in windows] == pytest.approx(range(7))
    covers = [window.covers_s for window in windows]
    assert covers[0] == (0.0, 2.5)
    assert all(left[1] == right[0] for left, right in pairwise(covers))
    assert windows[-1].frames[:, 0, 0, 0].tolist() == [65, 75, 85, 95]


def test_a_stream_of_just_one_window_gives_it() -> None:
    assert len(list(slide(numbered(40, 10.0), 4, 4.0, 1.0, same))) == 1
    assert len(list(slide(numbered(39, 10.0), 4, 4.0, 1.0, same))) == 0


def test_a_short_stream_can_be_one_window() -> None:
    (window,) = slide(numbered(8, 10.0), 4, 4.0, 1.0, same, short=True)
    assert window.frames[:, 0, 0, 0].tolist() == [1, 3, 5, 7]
    assert window.covers_s == pytest.approx((0.0, 0.8))
    assert len(list(slide(numbered(40, 10.0), 4, 4.0, 1.0, same, short=True))) == 1


def test_hop_is_at_least_a_frame() -> None:
    assert len(list(slide(numbered(20, 2.0), 4, 4.0, 0.001, same))) == 13


def test_slow_camera_repeats_frames() -> None:
    window = next(slide(numbered(4, 1.0), 8, 4.0, 1.0, same))
    assert window.frames[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_long_streams_are_not_held() -> None:
    tracemalloc.start()
    for _ in slide(numbered(3000, 100.0, size=100), 4, 2.0, 1.0, np.copy):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 30_000  # 3000 frames of 30 kB pass; a window needs at most 4 * 16 and a few
