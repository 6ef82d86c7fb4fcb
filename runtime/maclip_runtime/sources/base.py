"""What a source is: frames with times, one at a time, and a state that can be watched."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from types import TracebackType

from maclip_runtime.reading.frames import Pixels
from maclip_runtime.sources.options import Roi


@dataclass(frozen=True, eq=False)
class Frame:
    """One upright picture, `time_s` seconds after the source's first one.

    `picture` is uint8 [H, W, 3] RGB, or gives that when it is called: of a stream most frames are never looked at, and
    turning one into RGB takes longer than decoding it. `index` counts the frames that were given out. `restarted`: the
    source was lost before this frame and has come back, so nothing before it belongs to the same window.
    """

    picture: Pixels | Callable[[], Pixels]
    time_s: float
    index: int
    restarted: bool = False

    @cached_property
    def pixels(self) -> Pixels:
        """The picture, uint8 [H, W, 3] RGB."""
        return self.picture() if callable(self.picture) else self.picture


class SourceState(str, Enum):
    """`stalled`: connected, but nothing comes; `lost`: to be connected again; `ended`: no frame will come."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True)
class SourceStatus:
    """How a source fares. `name` and `problem` hold no credentials.

    `since_s`: seconds in this state. `frames` were given out; `dropped` came but were overtaken by a newer one.
    `rate`: frames a second that came lately. `problem`: why it last stalled or was lost, "" for never.
    """

    name: str
    state: SourceState
    since_s: float
    frames: int
    dropped: int
    reconnects: int
    rate: float
    problem: str


class Source(ABC):
    """Frames in order; closed when its `with` block ends. `name` is safe to print.

    A file gives each frame and waits to be read (`live` false). A camera or address goes on without its reader:
    it gives the newest frame and never a queue that grows.
    """

    def __init__(self, name: str, live: bool = False) -> None:
        self.name = name
        self.live = live

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames from here to the end. Raises as `read` does."""
        while True:
            frame = self.read()
            if frame is None:
                return
            yield frame

    @abstractmethod
    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame: of a file the next one, of a live source the newest that was not given yet.

        None where the source has ended, or where a live one brought nothing within `timeout_s` seconds (None:
        wait as long as it takes). Raises `source-lost` once a live source is given up, `clip-unreadable`.
        """

    @property
    @abstractmethod
    def status(self) -> SourceStatus:
        """How the source fares right now. Safe to ask from another thread."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file, camera or connection. Closing twice does nothing."""


class FileSource(Source):
    """A source that is read as it is consumed: running until it has ended. Only `roi` of each frame is given."""

    def __init__(self, name: str, roi: Roi | None = None) -> None:
        super().__init__(name)
        self._roi = roi
        self._frames: Iterator[Frame] | None = None
        self._given = 0
        self._ended = False
        self._since = time.monotonic()

    @abstractmethod
    def _produce(self) -> Iterator[Frame]:
        """The frames, from the first to the last."""

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, None at the end. Raises `clip-unreadable`."""
        if self._frames is None:
            self._frames = self._produce()
        frame = next(self._frames, None)
        if frame is None:
            self._ended, self._since = True, self._since if self._ended else time.monotonic()
        else:
            self._given += 1
            return part_of(self._roi, frame)
        return None

    def close(self) -> None:
        """Nothing more is read. A generator that is left half way holds its source and the decoder's threads."""
        self._frames = iter(())

    @property
    def status(self) -> SourceStatus:
        """Running or ended."""
        state = SourceState.ENDED if self._ended else SourceState.RUNNING
        return SourceStatus(self.name, state, time.monotonic() - self._since, self._given, 0, 0, 0.0, "")


def part_of(roi: Roi | None, frame: Frame) -> Frame:
    """The frame with only `roi` of its picture, cut when it is first looked at; None is all of it."""
    return frame if roi is None else replace(frame, picture=lambda: roi.view(frame.pixels))
