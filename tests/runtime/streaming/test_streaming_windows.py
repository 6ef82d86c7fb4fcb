"""Windows over a stream: sampled by time on one grid, shared, without gaps, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import pytest

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels, segment_indices
from maclip_runtime.sources import Frame
from maclip_runtime.streaming import Cutter, Grid, MotionGate, Step, Window


def frame(index: int, time_s: float, size: int = 1, restarted: bool = False) -> Frame:
    return Frame(np.full((size, size, 3), index % 256, np.uint8), time_s, index, restarted)


def numbered(count: int, rate: float, size: int = 1) -> Iterator[Frame]:
    return (frame(index, index / rate, size) for index in range(count))


def same(pixels: Pixels) -> Pixels:
    return pixels


def steps(frames: Iterable[Frame], cutter: Cutter) -> list[Step]:
    return [*(cutter.add(frame) for frame in frames), cutter.finish()]


def cut(frames: Iterable[Frame], grid: Grid, live: bool = False) -> list[Window]:
    return [window for step in steps(frames, Cutter(grid, same, live=live)) for window in step.windows]


def shown(window: Window) -> list[int]:
    """The numbers of the frames in a window."""
    return [int(slot.pixels[0, 0, 0]) for slot in window.slots]  # type: ignore[index]


def test_segment_centres_are_taken_by_time() -> None:
    first = cut(numbered(100, 10.0), Grid.of(4, 4.0, 1.0))[0]
    assert shown(first) == [5, 15, 25, 35]
    assert (first.start_s, first.end_s) == (0.0, 4.0)


@pytest.mark.parametrize(("count", "rate"), [(40, 10.0), (97, 25.0), (240, 30.0)])
def test_one_window_is_sampled_as_a_whole_clip(count: int, rate: float) -> None:
    (window,) = cut(numbered(count, rate), Grid.of(8, count / rate))
    assert shown(window) == segment_indices(count, 8).tolist()


def test_the_hop_is_rounded_to_the_grid() -> None:
    assert [Grid.of(8, 2.0, hop_s).hop for hop_s in (None, 0.01, 0.3, 0.5, 1.9, 9.0)] == [2, 1, 1, 2, 8, 36]
    assert Grid.of(8, 2.0, 0.3).hop_s == pytest.approx(0.25)
    for window_s, hop_s in [(0.0, 1.0), (0.01, 1.0), (float("nan"), 1.0), (1.0, 0.0), (1.0, float("inf"))]:
        with pytest.raises(MaclipError) as caught:
            Grid.of(8, window_s, hop_s)
        assert caught.value.code == "window-invalid"


@pytest.mark.parametrize("hop_s", [0.25, 0.5, 1.0, 1.75, 2.0, 3.5])
def test_windows_share_the_frames_they_have_in_common(hop_s: float) -> None:
    grid = Grid.of(8, 2.0, hop_s)
    done = steps(numbered(300, 30.0), Cutter(grid, same))
    windows = [window for step in done for window in step.windows]
    assert len(windows) == int((10.0 - 2.0) / hop_s + 1)
    sampled = {id(slot) for step in done for slot in step.slots}
    assert {id(slot) for window in windows for slot in window.slots} <= sampled
    for left, right in pairwise(windows):
        assert left.slots[grid.hop :] == right.slots[: max(0, 8 - grid.hop)]
    # A frame that no window takes is not even prepared.
    used = {point for point in range(40) if grid.is_used(point)}
    assert len(sampled) == len(used)


def test_windows_cover_the_stream_without_gaps() -> None:
    windows = cut(numbered(100, 10.0), Grid.of(4, 4.0, 1.0))
    assert [window.start_s for window in windows] == pytest.approx(range(7))
    covers = [window.covers_s for window in windows]
    assert covers[0] == (0.0, 2.5)
    assert all(left[1] == right[0] for left, right in pairwise(covers))
    assert shown(windows[-1]) == [65, 75, 85, 95]


def test_a_file_of_just_one_window_gives_it() -> None:
    grid = Grid.of(4, 4.0, 1.0)
    assert len(cut(numbered(40, 10.0), grid)) == 1
    assert len(cut(numbered(39, 10.0), grid)) == 0


def test_a_live_window_is_there_with_its_last_frame() -> None:
    """Half a grid spacing before a file's would be, which waits for the end of its last segment."""
    for live, due_s in [(True, 3.5), (False, 4.0)]:
        cutter = Cutter(Grid.of(4, 4.0, 1.0), same, live=live)
        first = next(frame for frame in numbered(100, 10.0) if cutter.add(frame).windows)
        assert first.time_s == pytest.approx(due_s)


def test_a_short_live_stream_is_one_window() -> None:
    (window,) = cut(numbered(8, 10.0), Grid.of(4, 4.0, 1.0), live=True)
    assert shown(window) == [1, 3, 5, 7]
    assert window.covers_s == pytest.approx((0.0, 0.8))
    (window,) = cut(numbered(200, 10.0), Grid.of(4, 40.0), live=True)
    np.testing.assert_allclose(shown(window), [25, 75, 125, 175], atol=16)
    assert len(cut(numbered(40, 10.0), Grid.of(4, 4.0, 1.0), live=True)) == 1


def test_a_live_stream_that_cannot_keep_up_answers_the_newest_window_only() -> None:
    slow = [frame(index, index * 3.0) for index in range(4)]  # a window each 1 s, a frame each 3 s
    windows = cut(slow, Grid.of(4, 4.0, 1.0), live=True)
    assert [window.start_s for window in windows] == [2.0, 5.0, 8.0]
    covers = [window.covers_s for window in windows]
    assert covers == [(2.0, 4.5), (4.5, 7.5), (7.5, 10.5)]
    assert len(cut(slow, Grid.of(4, 4.0, 1.0))) == 9  # every window of a file counts


def test_a_slow_camera_repeats_frames() -> None:
    done = steps(numbered(4, 1.0), Cutter(Grid.of(8, 4.0), same))
    (window,) = [window for step in done for window in step.windows]
    assert shown(window) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sum(len(step.slots) for step in done) == 4  # each frame passes the stem once all the same


def test_variable_frame_rate_goes_by_the_clock() -> None:
    times = [0.0, 0.9, 1.0, 1.1, 2.6, 3.4, 4.0, 4.5]
    (window,) = cut([frame(index, time_s) for index, time_s in enumerate(times)], Grid.of(4, 4.0, 4.0))
    assert shown(window) == [0, 3, 3, 5]


@pytest.mark.parametrize("live", [True, False])
def test_a_window_never_spans_a_loss(live: bool) -> None:
    for jump_s, restarted in [(0.1, True), (61.0, False), (-2.0, False)]:
        cutter = Cutter(Grid.of(4, 4.0, 1.0), same, live=live)
        for one in numbered(60, 10.0):
            cutter.add(one)
        back_s = 5.9 + jump_s
        step = cutter.add(frame(100, back_s, restarted=restarted))
        assert step.lost_s == pytest.approx(6.0)
        later = [cutter.add(frame(100 + index, back_s + index / 10)) for index in range(1, 60)]
        windows = [window for step in later for window in step.windows]
        assert windows[0].start_s == pytest.approx(back_s)
        assert windows[0].covers_s[0] == pytest.approx(back_s)
        assert all(number >= 100 for window in windows for number in shown(window))


def test_a_long_gap_in_time_costs_little() -> None:
    frames = [frame(0, 0.0), frame(1, 0.1), frame(2, 1e12), frame(3, 1e12 + 0.1)]
    assert len(steps(frames, Cutter(Grid.of(8, 0.05), same))) == 5


def test_still_frames_reuse_the_last_one_that_moved() -> None:
    moving = [frame(index * 5, index / 10, 16) for index in range(20)]
    still = [frame(100 + index % 2, 2 + index / 10, 16) for index in range(30)]
    drifting = [frame(100 + index, 5 + index / 10, 16) for index in range(30)]
    done = steps([*moving, *still, *drifting], Cutter(Grid.of(4, 0.8, 0.2), same, MotionGate(3.0)))
    flags = [(round(window.start_s, 1), window.still) for step in done for window in step.windows]
    assert [start for start, is_still in flags if is_still] == pytest.approx(np.arange(2.2, 4.7, 0.2))
    assert max(start for start, _ in flags) > 7  # the slow drift after it adds up and is seen
    assert sum(len(step.slots) for step in done) < 30  # of 40 samples


def test_a_gate_that_cannot_be() -> None:
    for limit in (-1.0, float("nan"), float("inf")):
        with pytest.raises(MaclipError) as caught:
            MotionGate(limit)
        assert caught.value.code == "motion-invalid"


@pytest.mark.parametrize("live", [True, False])
def test_long_streams_are_not_held(live: bool) -> None:
    cutter = Cutter(Grid.of(4, 2.0, 1.0), np.copy, live=live)
    tracemalloc.start()
    for one in numbered(3000, 100.0, size=100):
        cutter.add(one)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 30_000  # 3000 frames of 30 kB pass; 4 slots are kept, and 16 small frames at the beginning
