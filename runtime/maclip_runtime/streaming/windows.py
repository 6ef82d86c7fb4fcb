"""Windows of one source: which frames count, and when T of them make a window.

Windows that follow each other share the frames they have in common, so each sampled frame passes the stem once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Floats, Pixels, segment_indices
from maclip_runtime.sources import Frame
from maclip_runtime.streaming.motion import MotionGate

MIN_WINDOW_SECONDS = 0.05  # a shorter window is a single frame of any camera
MAX_WINDOW_SECONDS = 86400.0  # a day; no action lasts longer, and sums of larger numbers overflow
MAX_GAP_SECONDS = 60.0  # frames farther apart than this (and than a window) never share a window
# An action that a window shows begins at most this share of the window after the window's start, and ends at most as
# much before its end (chosen by benchmarks/events.py).
OUTSIDE_SHARE = 0.15
SAME_SECONDS = 1e-6  # times this close are equal: frame times are sums of fractions


@dataclass(frozen=True)
class Grid:
    """The points in time at which a stream is sampled.

    A window of `window_s` seconds is cut into T = `frames` equal segments and takes the frame shown at the centre of
    each, as a whole clip does. The grid points are those centres, `spacing_s` apart: point m lies at
    (m + 0.5) * spacing_s. A new window begins every `hop` points: window n takes the points n * hop to
    n * hop + T - 1.
    """

    frames: int
    window_s: float
    hop: int

    @classmethod
    def of(cls, frames: int, window_s: float, hop_s: float | None = None) -> Grid:
        """The grid whose hop is nearest to `hop_s` seconds (default: a quarter of the window), at least one point.

        Raises `window-invalid`.
        """
        hop_s = window_s / 4 if hop_s is None else hop_s
        if not (MIN_WINDOW_SECONDS <= window_s <= MAX_WINDOW_SECONDS and 0 < hop_s <= MAX_WINDOW_SECONDS):
            raise MaclipError(
                "window-invalid",
                f"A window of {window_s} s every {hop_s} s is not possible.",
                f"Give a window of {MIN_WINDOW_SECONDS} seconds to a day, and a hop above 0.",
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

    @property
    def reach_s(self) -> float:
        """How far an action reaches beyond the part of the stream that a window which shows it stands for."""
        return reach_of(self.window_s, self.hop_s)

    def is_used(self, point: int) -> bool:
        """Whether any window takes this point; some are skipped if the hop is longer than the window."""
        return point % self.hop < self.frames


class Slot:
    """A sampled frame: its prepared pixels, uint8 [size, size, 3]; after the stem its tokens instead."""

    __slots__ = ("pixels", "tokens")

    def __init__(self, pixels: Pixels) -> None:
        self.pixels: Pixels | None = pixels
        self.tokens: Floats | None = None  # float32 or float16 [rows, width]


@dataclass(frozen=True)
class Window:
    """T slots from `start_s` to `end_s`.

    `covers_s`: the part of the stream that its answer stands for, a hop around its centre (the first window's part
    begins at its start). The parts of successive windows neither overlap nor leave gaps. `still`: nothing moved in
    any of the T frames.
    """

    slots: tuple[Slot, ...]
    start_s: float
    end_s: float
    covers_s: tuple[float, float]
    still: bool = False


@dataclass
class Step:
    """What one frame brought: new slots for the stem, and windows that are full now.

    `lost_s`: when the stream before this frame ended, if this frame does not continue it.
    """

    slots: list[Slot] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    lost_s: float | None = None

    def __bool__(self) -> bool:
        return bool(self.slots or self.windows) or self.lost_s is not None


class Cutter:
    """Cuts the frames of one source into windows. Memory is bounded: T slots, and at the start 4 T small frames.

    A `live` source is answered as soon as the last frame of a window is there; if several windows are due at once,
    only the newest is cut, so the answers never fall behind. Of a file every window is cut, once it has passed. A
    loss, a clock that jumps, or a gap of a minute starts anew: no window spans it.
    """

    def __init__(
        self,
        grid: Grid,
        prepare: Callable[[Pixels], Pixels],
        gate: MotionGate | None = None,
        live: bool = False,
    ) -> None:
        self.windows = 0  # cut so far
        self._live = live
        self._grid = grid
        self._prepare = prepare
        self._gate = gate
        self._sampler: Sampler | None = None
        self._clear()

    @property
    def end_s(self) -> float:
        """When the stream so far ends: the last frame is shown for as long as the one before it was."""
        if self._sampler is None:
            return 0.0
        return self._sampler.start_s + self._sampler.known_s + self._sampler.step_s

    def add(self, frame: Frame) -> Step:
        """Take the next frame."""
        step = Step()
        if self._sampler is not None and not self._sampler.follows(frame):
            step.lost_s = self.end_s
            self._sampler = None
        if self._sampler is None:
            self._sampler = Sampler(self._grid, frame)
            self._clear()
        self._take(step, self._sampler.add(frame))
        if self._beginning is not None:
            self._beginning.add(frame)
        self._cut(step, self._sampler.known_s)
        return step

    def finish(self) -> Step:
        """The windows that are full now that the source has ended.

        A live source that was shorter than a window gets one window over all of it.
        """
        step = Step()
        if self._sampler is None:
            return step
        self._take(step, self._sampler.finish())
        self._cut(step, self._sampler.known_s + self._sampler.step_s)
        if self._beginning is not None:
            start_s, end_s = self._sampler.start_s, self.end_s
            slots = self._beginning.slots(self._grid.frames)
            step.slots += dict.fromkeys(slots)
            step.windows.append(Window(slots, start_s, end_s, (start_s, end_s)))
            self.windows += 1
        return step

    def _clear(self) -> None:
        self._ring: deque[tuple[Slot, bool]] = deque(maxlen=self._grid.frames)
        self._shown: tuple[Frame, Slot, bool] | None = None  # the frame that was sampled last
        self._covered_s: float | None = None
        # Live only: a file that is shorter than a window can be read again.
        self._beginning = _Beginning(self._prepare, 4 * self._grid.frames) if self._live else None
        self._full: deque[tuple[int, tuple[tuple[Slot, bool], ...]]] = deque()
        if self._gate:
            self._gate.reset()

    def _take(self, step: Step, sampled: Iterable[tuple[int, Frame]]) -> None:
        last = self._grid.frames - 1
        for point, frame in sampled:
            self._ring.append(self._slot(step, frame))
            number, rest = divmod(point - last, self._grid.hop)
            if number >= 0 and not rest:
                self._full.append((number, tuple(self._ring)))

    def _slot(self, step: Step, frame: Frame) -> tuple[Slot, bool]:
        """The slot of the frame shown at a grid point, and whether it is still."""
        if self._shown is None or self._shown[0] is not frame:
            pixels = self._prepare(frame.pixels)
            if self._gate and self._gate.is_still(pixels) and self._shown:
                self._shown = (frame, self._shown[1], True)
            else:
                slot = Slot(pixels)
                step.slots.append(slot)
                self._shown = (frame, slot, False)
        return self._shown[1], self._shown[2]

    def _cut(self, step: Step, known_s: float) -> None:
        """Cut the windows that have passed by `known_s`; of a live source the newest of those that are full."""
        assert self._sampler is not None
        while self._full:
            number, taken = self._full[0]
            start_s = number * self._grid.hop_s
            if not self._live and start_s + self._grid.window_s > known_s + SAME_SECONDS:
                return
            self._full.popleft()
            if self._live and self._full:
                continue
            self._cut_one(step, self._sampler.start_s + start_s, taken)

    def _cut_one(self, step: Step, start_s: float, taken: tuple[tuple[Slot, bool], ...]) -> None:
        covered_s = start_s if self._covered_s is None else self._covered_s
        self._covered_s = start_s + (self._grid.window_s + self._grid.hop_s) / 2
        slots, still = zip(*taken, strict=True)
        covers_s = (covered_s, self._covered_s)
        step.windows.append(Window(slots, start_s, start_s + self._grid.window_s, covers_s, all(still)))
        self.windows += 1
        self._beginning = None


class Sampler:
    """Finds for each grid point the frame that is shown there. Times are seconds since `start_s`.

    The frame shown at a point is known once a frame at or after that point has come. Only the latest frame is held.
    """

    def __init__(self, grid: Grid, first: Frame) -> None:
        self.start_s = first.time_s
        self.step_s = 0.0  # between the last two frames
        self._grid = grid
        self._held = first
        self._point = 0

    @property
    def known_s(self) -> float:
        """Up to when the shown frames are known."""
        return self._held.time_s - self.start_s

    def follows(self, frame: Frame) -> bool:
        """Whether `frame` continues the stream: no loss, no clock that jumped."""
        gap_s = frame.time_s - self._held.time_s
        return not frame.restarted and -SAME_SECONDS <= gap_s <= max(MAX_GAP_SECONDS, self._grid.window_s)

    def add(self, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """The points that are settled now that `frame` has come, each with the frame shown there."""
        time_s = frame.time_s - self.start_s
        yield from self._settle(time_s - SAME_SECONDS)
        if time_s > self.known_s:
            self.step_s = time_s - self.known_s
        self._held = frame
        yield from self._settle(time_s + SAME_SECONDS)

    def finish(self) -> Iterator[tuple[int, Frame]]:
        """The points that the last frame settles: it is shown for as long as the one before it was."""
        yield from self._settle(self.known_s + self.step_s)

    def _settle(self, until_s: float) -> Iterator[tuple[int, Frame]]:
        while (self._point + 0.5) * self._grid.spacing_s <= until_s:
            if self._grid.is_used(self._point):
                yield self._point, self._held
            self._point += 1


class _Beginning:
    """Up to `count` frames, evenly spaced over the stream so far: for a stream that ends before its first window."""

    def __init__(self, prepare: Callable[[Pixels], Pixels], count: int) -> None:
        self._prepare = prepare
        self._room = count
        self._stride = 1
        self._seen = 0
        self._kept: list[Pixels] = []

    def add(self, frame: Frame) -> None:
        """Keep every `stride`-th frame; once there are too many, drop every second one."""
        if self._seen % self._stride == 0:
            self._kept.append(self._prepare(frame.pixels))
            if len(self._kept) > self._room:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    def slots(self, frames: int) -> tuple[Slot, ...]:
        """T slots over the whole stream, sampled as a whole clip is."""
        made = [Slot(pixels) for pixels in self._kept]
        return tuple(made[i] for i in np.asarray(segment_indices(len(made), frames)).tolist())


def reach_of(window_s: float, hop_s: float) -> float:
    """See `Grid.reach_s`. A window stands for a hop around its centre; no action reaches beyond the window itself."""
    return max(0.0, min((0.5 - OUTSIDE_SHARE) * window_s, (window_s - hop_s) / 2))


def window_of(window_s: object, hop_s: object) -> tuple[float | None, float | None]:
    """Seconds of a window and between windows as plain numbers; None stays None. Raises `window-invalid`."""
    window, hop = (
        None if value is None else values.number(value, what, code="window-invalid", above=0)
        for value, what in ((window_s, "window_s"), (hop_s, "hop_s"))
    )
    return window, hop
