"""What a source is: frames with times, one at a time, and a status."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from types import TracebackType

from maclip_runtime.reading.frames import Pixels
from maclip_runtime.redaction import one_line, redact
from maclip_runtime.sources.options import Roi


@dataclass(frozen=True, eq=False)
class Frame:
    """One upright picture.

    picture: uint8 [H, W, 3] RGB, or a function that returns it: most frames of a stream are never looked at, and
        converting one to RGB takes longer than decoding it.
    time_s: seconds after the source's first frame.
    index: how many frames the source gave before this one.
    restarted: whether the source was lost before this frame, so that no earlier frame belongs to the same window.
    whole: the frame of which this one is a part; None where it is not cut.
    """

    picture: Pixels | Callable[[], Pixels]
    time_s: float
    index: int
    restarted: bool = False
    whole: Frame | None = None

    @cached_property
    def pixels(self) -> Pixels:
        """The picture, uint8 [H, W, 3] RGB."""
        return self.picture() if callable(self.picture) else self.picture


class SourceState(str, Enum):
    """`stalled`: connected, but silent; `lost`: waiting to reconnect; `ended`: no frame will follow."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True)
class SourceStatus:
    """The status of a source. `name` and `problem` hold no credentials.

    since_s: seconds in this state.
    frames: how many were given out.
    dropped: how many arrived but were replaced by a newer one before they were read.
    reconnects: how often the source came back.
    rate: frames per second that arrived lately.
    problem: why it last stalled or was lost, "" for never.
    live: whether it is a camera or stream, which goes on without its reader.
    """

    name: str
    state: SourceState
    since_s: float
    frames: int
    dropped: int
    reconnects: int
    rate: float
    problem: str
    live: bool = False


class Source(ABC):
    """Frames in order. A context manager that closes itself.

    A file gives every frame and waits to be read (`live` is false). A camera or stream goes on without its reader: it
    gives the newest frame and never builds a queue.
    """

    def __init__(self, name: str, *, live: bool = False) -> None:
        """Name the source.

        name: for messages and events; an address loses its credentials.
        live: whether it goes on without its reader.
        """
        self.name = one_line(redact(name))
        self.live = live

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames from here to the end. Raises what `read` raises."""
        while True:
            frame = self.read()
            if frame is None:
                return
            yield frame

    @abstractmethod
    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame of a file, or a live source's newest frame that was not given yet.

        None at the end, or where a live source has no new frame within `timeout_s` seconds (None: wait without limit).
        Raises `source-lost` once a live source is given up, `clip-unreadable`.
        """

    @property
    @abstractmethod
    def status(self) -> SourceStatus:
        """The current status. Any thread may ask."""

    @property
    def length_s(self) -> float | None:
        """Seconds that it says it lasts, for progress; None where it does not say."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release the file, camera or connection. Closing twice does nothing."""


class SequentialSource(Source):
    """A source that waits to be read and gives every frame. Subclasses write `produce`."""

    def __init__(self, name: str, roi: Roi | None = None) -> None:
        """Name the source.

        name: for messages and events, without credentials.
        roi: the part of each frame that is given; None for all of it.
        """
        super().__init__(name)
        self._roi = roi
        self._frames: Iterator[Frame] | None = None
        self._given = 0
        self._ended = False
        self._since = time.monotonic()

    @abstractmethod
    def produce(self) -> Iterator[Frame]:
        """The frames, from the first to the last. Raises `clip-unreadable`."""

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, None at the end. Raises `clip-unreadable`."""
        if self._frames is None:
            self._frames = self.produce()
        frame = next(self._frames, None)
        if frame is None:
            self._ended, self._since = True, self._since if self._ended else time.monotonic()
        else:
            self._given += 1
            return part_of(self._roi, frame)
        return None

    def close(self) -> None:
        """Stop. A generator that is not dropped would keep its file and the decoder's threads."""
        self._frames = iter(())

    @property
    def status(self) -> SourceStatus:
        """Running or ended."""
        state = SourceState.ENDED if self._ended else SourceState.RUNNING
        return SourceStatus(self.name, state, time.monotonic() - self._since, self._given, 0, 0, 0.0, "")


def part_of(roi: Roi | None, frame: Frame) -> Frame:
    """The frame with only `roi` of its picture, cut out when it is first needed; None leaves it whole."""
    return frame if roi is None else replace(frame, picture=lambda: roi.view(frame.pixels), whole=frame)
