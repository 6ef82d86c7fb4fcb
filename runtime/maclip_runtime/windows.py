"""Windows over a stream of frames: a ring of small prepared frames, and T of them for each window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maclip_runtime.frames import Pixels
from maclip_runtime.sources import Frame

KEPT_PER_SEGMENT = 16  # frames kept for each of a window's T segments, at most: bounds memory on fast cameras


@dataclass(frozen=True)
class Window:
    """T frames, uint8 [T, size, size, 3], of `start_s` to `end_s`, and the part of it that it speaks for.

    `covers_s` is the hop around the centre (for the first window from its start), so that the parts of
    windows that follow each other neither overlap nor leave gaps.
    """

    frames: Pixels
    start_s: float
    end_s: float
    covers_s: tuple[float, float]


def slide(
    frames: Iterable[Frame],
    length: int,
    window_s: float,
    hop_s: float,
    transform: Callable[[Pixels], Pixels],
    short: bool = False,
) -> Iterator[Window]:
    """Windows of `length` frames (T) and `window_s` seconds, a new one every `hop_s` seconds (at least a frame).

    A window takes the frames shown at the centres of its T equal segments, as whole clips are sampled.
    Only frames that may be needed go through `transform`. A stream shorter than a window gives nothing, or with
    `short` one window over all of it.
    """
    ring: deque[tuple[float, Pixels]] = deque()
    spacing_s = window_s / (length * KEPT_PER_SEGMENT)
    centres = (np.arange(length) + 0.5) * window_s / length
    start_s, covered_s, last_s, step_s = 0.0, 0.0, None, 0.0
    for frame in frames:
        if last_s is not None and frame.time_s > last_s:
            step_s = frame.time_s - last_s
        last_s = frame.time_s
        if not ring or frame.time_s - ring[-1][0] >= spacing_s - 1e-6:
            ring.append((frame.time_s, transform(frame.pixels)))
        # The last frame is shown for a step, so a window is full when the frame after it would be due.
        while last_s + step_s >= start_s + window_s - 1e-6:
            hop = max(hop_s, step_s)
            until_s = start_s + (window_s + hop) / 2
            picked = _shown_at(ring, start_s + centres)
            yield Window(picked, start_s, start_s + window_s, (covered_s, until_s))
            start_s, covered_s = start_s + hop, until_s
            while len(ring) > 1 and ring[1][0] <= start_s:
                ring.popleft()
    if short and last_s is not None and covered_s == 0.0:
        end_s = last_s + step_s
        yield Window(_shown_at(ring, centres * end_s / window_s), 0.0, end_s, (0.0, end_s))


def _shown_at(ring: deque[tuple[float, Pixels]], times: npt.NDArray[np.float64]) -> Pixels:
    """The frames on show at `times` [T], in seconds -> uint8 [T, size, size, 3]."""
    began = np.array([time_s for time_s, _ in ring])
    places = np.maximum(np.searchsorted(began, times + 1e-6, side="right") - 1, 0)
    return np.stack([ring[place][1] for place in places])


def default_hop(window_s: float) -> float:
    """A quarter of the window, in seconds."""
    return window_s / 4
