"""Frames of one source, sampled on the grid, kept in a ring and cut into windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from maclip_runtime.reading.frames import Floats, Pixels, segment_indices
from maclip_runtime.sources import Frame
from maclip_runtime.streaming.grid import SAME_S, Grid, Sampler
from maclip_runtime.streaming.motion import MotionGate


class Slot:
    """A sampled frame: its prepared pixels, uint8 [size, size, 3], and once it passed the stem its tokens instead."""

    __slots__ = ("pixels", "tokens")

    def __init__(self, pixels: Pixels) -> None:
        self.pixels: Pixels | None = pixels
        self.tokens: Floats | None = None  # float32 [N+1, D]


@dataclass(frozen=True)
class Window:
    """T slots of `start_s` to `end_s`, and the part `covers_s` that its answer speaks for.

    That is the hop around the centre (for the first window from its start), so that the parts of windows that
    follow each other neither overlap nor leave gaps. `still`: nothing moved in any of the T frames.
    """

    slots: tuple[Slot, ...]
    start_s: float
    end_s: float
    covers_s: tuple[float, float]
    still: bool = False


@dataclass
class Step:
    """What came of a frame: slots for the stem, windows that are full; `lost_s`: what came before it ended then."""

    slots: list[Slot] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    lost_s: float | None = None

    def __bool__(self) -> bool:
        return bool(self.slots or self.windows) or self.lost_s is not None


class Cutter:
    """The frames of one source, in order. Memory is bounded: T slots, and at the beginning 4 T small frames.

    A `live` stream answers as soon as the last frame of a window is there, and where several windows are due at once
    only the newest: it never falls behind. Of a file every window is answered, once it has passed. A loss, a clock
    that jumps, or a gap of a minute begins anew: no window spans it.
    """

    def __init__(
        self,
        grid: Grid,
        prepare: Callable[[Pixels], Pixels],
        gate: MotionGate | None = None,
        live: bool = False,
    ) -> None:
        self.windows = 0  # that were cut so far, over all
        self._live = live
        self._grid = grid
        self._prepare = prepare
        self._gate = gate
        self._sampler: Sampler | None = None
        self._clear()

    @property
    def end_s(self) -> float:
        """When what came so far ends: the last frame is shown for as long as the one before it was."""
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
        """The source has ended: the windows that are full by its end.

        A live one that was shorter than a window has one window over all of it.
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
        # A file that is shorter than a window can be read again.
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
        """The slot of a frame that is on show at a point, and whether it is still."""
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
        """The windows that have passed by `known_s`, for a live stream the newest of those that are full."""
        assert self._sampler is not None
        while self._full:
            number, taken = self._full[0]
            start_s = number * self._grid.hop_s
            if not self._live and start_s + self._grid.window_s > known_s + SAME_S:
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


class _Beginning:
    """Frames spread evenly over what came so far, at most `most` of them, for a stream that ends early."""

    def __init__(self, prepare: Callable[[Pixels], Pixels], most: int) -> None:
        self._prepare = prepare
        self._most = most
        self._stride = 1
        self._count = 0
        self._kept: list[Pixels] = []

    def add(self, frame: Frame) -> None:
        """Keep every `stride`-th frame; where too many are kept, every second goes."""
        if self._count % self._stride == 0:
            self._kept.append(self._prepare(frame.pixels))
            if len(self._kept) > self._most:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._count += 1

    def slots(self, frames: int) -> tuple[Slot, ...]:
        """T slots over all of it, as a whole clip is sampled."""
        made = [Slot(pixels) for pixels in self._kept]
        return tuple(made[i] for i in np.asarray(segment_indices(len(made), frames)).tolist())
