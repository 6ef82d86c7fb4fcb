"""A recording that is played again and again at its own pace, as if it were a camera: for trials and demonstrations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.sources.base import Frame
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.opening import is_recorded, open_source
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

WAIT_SECONDS = 0.1  # between two frames, before the reader may stop
PAUSE_SECONDS = 0.04  # after the last frame of a recording that has only one


@source("loop", live=True, forms=("loop://a video's path",))
def open_loop(uri: str, options: SourceOptions) -> LiveSource:
    """The video, folder or `bag:` at `loop://PATH`. Raises `source-lost` where it cannot be read."""
    return LiveSource(uri, partial(LoopConnection, uri.partition("://")[2]), options=options)


class LoopConnection(Connection):
    """Plays a recording from its beginning, and again. Raises `ConnectionLost` where it cannot be read."""

    def __init__(self, address: str, open_s: float) -> None:
        self._address = address
        if not is_recorded(address):
            raise ConnectionLost("cannot be played (it is no recording)")
        try:
            open_source(address).close()
        except MaclipError as error:
            raise ConnectionLost(f"cannot be played ({error.message.rstrip('.')})") from None

    def arrivals(self) -> Iterator[Arrival | None]:
        """The frames when they are due. Raises `ConnectionLost`."""
        base_s, begun = 0.0, time.monotonic()
        while True:
            last_s, step_s = 0.0, PAUSE_SECONDS
            with open_source(self._address) as source:
                for frame in source:
                    while (left_s := begun + base_s + frame.time_s - time.monotonic()) > WAIT_SECONDS:
                        time.sleep(WAIT_SECONDS)
                        yield None
                    time.sleep(max(0.0, left_s))
                    yield Arrival(partial(_pixels, frame), base_s + frame.time_s)
                    last_s, step_s = frame.time_s, frame.time_s - last_s or step_s
            base_s += last_s + step_s

    def close(self) -> None:
        """Nothing stays open between two frames but the generator's own file."""


def _pixels(frame: Frame) -> Pixels:
    return frame.pixels
