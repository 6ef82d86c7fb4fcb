"""Windows over a stream of frames: a ring of small prepared frames, and T of them for each window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

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
) -> Iterator[Window]:
    """Windows of `length` frames (T) and `window_s` seconds, a new one every `hop_s` seconds (at least a frame).

    A window takes the frames shown at the centres of its T equal segments, as whole clips are sampled.
    Only frames that may be needed go through `transform`. Yields nothing for a stream shorter than a window.
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
            times = np.array([time_s for time_s, _ in ring])
            picked = np.maximum(np.searchsorted(times, start_s + centres + 1e-6, side="right") - 1, 0)
            hop = max(hop_s, step_s)
            until_s = start_s + (window_s + hop) / 2
            yield Window(
                np.stack([ring[place][1] for place in picked]),
                start_s,
                start_s + window_s,
                (covered_s, until_s),
            )
            start_s, covered_s = start_s + hop, until_s
            while len(ring) > 1 and ring[1][0] <= start_s:
                ring.popleft()


def default_hop(window_s: float) -> float:
    """A quarter of the window, in seconds."""
    return window_s / 4
