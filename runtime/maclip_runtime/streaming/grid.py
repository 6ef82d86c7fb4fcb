"""The grid a stream is sampled on: windows that follow each other share the frames they have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Frame

LEAST_WINDOW_S = 0.05  # below, a window is one frame of any camera
MOST_WINDOW_S = 86400.0  # a day; no action lasts longer, and sums of larger numbers overflow
LONGEST_GAP_S = 60.0  # frames farther apart than this (and than a window) belong to no common window
SAME_S = 1e-6  # times this near are one: frame times are sums of fractions


@dataclass(frozen=True)
class Grid:
    """Windows of T = `frames` frames and `window_s` seconds, a new one every `hop` grid points.

    A window is cut into T equal segments and takes the frame on show at the centre of each, as a whole clip does.
    Those centres, `spacing_s` apart, are the grid: point m lies at (m + 0.5) * spacing_s, and window n takes the
    points n * hop to n * hop + T - 1.
    """

    frames: int
    window_s: float
    hop: int

    @classmethod
    def of(cls, frames: int, window_s: float, hop_s: float | None = None) -> Grid:
        """The grid nearest to a hop of `hop_s` seconds (None: a quarter of the window), at least one point.

        Raises `window-invalid`.
        """
        hop_s = window_s / 4 if hop_s is None else hop_s
        if not (LEAST_WINDOW_S <= window_s <= MOST_WINDOW_S and 0 < hop_s <= MOST_WINDOW_S):
            raise MaclipError(
                "window-invalid",
                f"A window of {window_s} s every {hop_s} s is not possible.",
                f"Give a window of {LEAST_WINDOW_S} seconds to a day, and a hop above 0.",
            )
        return cls(frames, window_s, max(1, round(hop_s * frames / window_s)))

    @property
    def spacing_s(self) -> float:
        """Seconds between grid points."""
        return self.window_s / self.frames

    @property
    def hop_s(self) -> float:
        """Seconds between windows."""
        return self.hop * self.spacing_s

    def is_used(self, point: int) -> bool:
        """Whether any window takes this point; not all do where the hop is longer than the window."""
        return point % self.hop < self.frames


class Sampler:
    """Says of each frame that comes which grid points it settles. Times are seconds since `start_s`.

    The frame on show at a point is known once a frame at or after it has come; the last frame before is held, never
    more.
    """

    def __init__(self, grid: Grid, first: Frame) -> None:
        self.start_s = first.time_s
        self.step_s = 0.0  # between the last two frames
        self._grid = grid
        self._held = first
        self._point = 0

    @property
    def known_s(self) -> float:
        """Up to when it is known which frame is on show."""
        return self._held.time_s - self.start_s

    def follows(self, frame: Frame) -> bool:
        """Whether `frame` goes on from what came before: no loss, no clock that jumped."""
        gap_s = frame.time_s - self._held.time_s
        return not frame.restarted and -SAME_S <= gap_s <= max(LONGEST_GAP_S, self._grid.window_s)

    def add(self, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """The points that are settled now that `frame` has come, each with the frame on show there."""
        time_s = frame.time_s - self.start_s
        yield from self._settle(time_s - SAME_S)
        if time_s > self.known_s:
            self.step_s = time_s - self.known_s
        self._held = frame
        yield from self._settle(time_s + SAME_S)

    def finish(self) -> Iterator[tuple[int, Frame]]:
        """The points that the last frame settles: it is shown for as long as the one before it was."""
        yield from self._settle(self.known_s + self.step_s)

    def _settle(self, until_s: float) -> Iterator[tuple[int, Frame]]:
        while (self._point + 0.5) * self._grid.spacing_s <= until_s:
            if self._grid.is_used(self._point):
                yield self._point, self._held
            self._point += 1
