"""Windows of untrimmed video: which are of a class, which of none, and where their frames come from."""

from __future__ import annotations

import numpy as np
import pytest

from maclip.data.stream_windows import NONE, Happening, Timeline, draw_windows, stitch, window_label
from maclip_runtime.errors import MaclipError

ACTION = (Happening(3, 10.0, 12.0),)


@pytest.mark.parametrize(
    ("start_s", "end_s", "label"),
    [
        (10.0, 12.0, 3),  # the action itself
        (10.5, 11.6, 3),  # inside, more than half of it
        (10.5, 11.4, None),  # inside, 45 % of it: neither
        (9.4, 12.4, 3),  # all of it, in two thirds of the window
        (8.0, 12.5, None),  # all of it, in 44 % of the window: it is seen, yet not what the window shows
        (9.0, 10.8, NONE),  # 40 % of it, in 44 % of the window
        (9.0, 11.0, None),  # half of it
        (5.0, 7.0, NONE),
        (12.0, 14.0, NONE),
    ],
)
def test_the_label_of_a_window(start_s, end_s, label):
    assert window_label(start_s, end_s, ACTION) == label


def test_a_window_over_two_actions_is_of_the_one_that_it_shows():
    both = (Happening(0, 0.0, 2.0), Happening(1, 2.0, 4.0))
    assert window_label(0.1, 2.1, both) == 0
    assert window_label(1.9, 3.9, both) == 1
    assert window_label(1.0, 3.0, both) is None


def timeline(*happenings: Happening, seconds: float = 30.0, first: int = 0) -> Timeline:
    count = round(seconds * 10)
    return Timeline(first + np.arange(count), np.arange(count) / 10, seconds, happenings)


def test_windows_are_drawn_where_their_labels_hold():
    lines = [
        timeline(Happening(0, 4.0, 6.0), Happening(1, 10.0, 12.0)),
        timeline(Happening(1, 4.0, 6.2), Happening(5, 20.0, 22.0), first=1000),
    ]
    rows, labels = draw_windows(lines, 8, 3, of_class=20, of_none=30, seed=1)
    assert rows.shape == (70, 8)
    assert [int((labels == label).sum()) for label in (0, 1, 2, NONE)] == [20, 20, 0, 30]
    for window, label in zip(rows, labels, strict=True):
        which, frames = divmod(window, 1000)
        assert len(set(which.tolist())) == 1
        spacing = (frames[-1] - frames[0]) / 7 / 10
        start, end = frames[0] / 10 - spacing / 2, frames[-1] / 10 + spacing / 2
        seen = [
            h for h in lines[which[0]].happenings if min(end, h.end_s) - max(start, h.start_s) > 0.65 * (end - start)
        ]
        assert [h.label for h in seen if h.label < 3] == ([label] if label != NONE else [])
    again = draw_windows(lines, 8, 3, of_class=20, of_none=30, seed=1)
    assert np.array_equal(rows, again[0])
    other = draw_windows(lines, 8, 3, of_class=20, of_none=30, seed=2)
    assert not np.array_equal(rows, other[0])


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [timeline()],  # nothing happens
        [timeline(Happening(7, 4.0, 6.0))],  # only strangers
        [timeline(Happening(0, 0.0, 2.0), seconds=2.0)],  # no rest
        [timeline(Happening(0, 0.0, 50.0), seconds=30.0)],  # longer than the video
    ],
)
def test_too_little_video_is_said(lines):
    with pytest.raises(MaclipError) as refused:
        draw_windows(lines, 8, 3, of_class=4, of_none=4, seed=0)
    assert refused.value.code == "streams-too-small"
    assert "--streams" in refused.value.fix


def test_stitched_video_holds_each_readable_clip_once_with_held_pictures_between():
    labels = np.repeat(np.arange(5), 4)
    readable = np.arange(20) != 7
    lines = stitch(labels, 16, readable, seed=0)
    shown = [clip for line in lines for clip in dict.fromkeys((line.rows // 16).tolist())]
    assert sorted(set(shown)) == [clip for clip in range(20) if clip != 7]
    for line in lines:
        assert np.all(np.diff(line.times_s) > 0)
        for one in line.happenings:
            inside = line.rows[(line.times_s >= one.start_s) & (line.times_s < one.end_s)]
            assert inside.tolist() == list(range(inside[0] // 16 * 16, inside[0] // 16 * 16 + 16))
            assert labels[inside[0] // 16] == one.label
            rest = line.window(one.start_s - 0.2, 0.1, 4)
            assert set(rest.tolist()) == {inside[0]}  # the next picture, held
