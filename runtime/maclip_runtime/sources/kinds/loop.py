"""A video that is played again and again at its own pace, as if it were a camera: for trials and demonstrations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading import video
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

WAIT_SECONDS = 0.1  # between two frames, before the reader may stop


@source("loop", live=True, forms=("loop://a video's path",))
def open_loop(uri: str, options: SourceOptions) -> LiveSource:
    """The video at `loop://PATH`. Raises `source-lost` where it cannot be read."""
    path = Path(uri.partition("://")[2])
    return LiveSource(uri, partial(LoopConnection, path), options=options)


class LoopConnection(Connection):
    """Plays a video from its beginning, and again. Raises `ConnectionLost` where it cannot be read."""

    def __init__(self, path: Path, open_s: float) -> None:
        self._path = path
        try:
            container, _ = video.open_file(path)
        except MaclipError as error:
            raise ConnectionLost(f"cannot be played ({error.message.rstrip('.')})") from None
        container.close()

    def arrivals(self) -> Iterator[Arrival | None]:
        """The frames when they are due. Raises `ConnectionLost`."""
        base_s, begun = 0.0, time.monotonic()
        while True:
            container, stream = video.open_file(self._path)
            last_s, step_s = 0.0, 1 / video.rate(stream)
            with container:
                for frame, time_s in video.timed_frames(container, stream, self._path):
                    while (left_s := begun + base_s + time_s - time.monotonic()) > WAIT_SECONDS:
                        time.sleep(WAIT_SECONDS)
                        yield None
                    time.sleep(max(0.0, left_s))
                    yield Arrival(partial(video.upright, frame), base_s + time_s)
                    last_s = time_s
            base_s += last_s + step_s

    def close(self) -> None:
        """Nothing stays open between two frames but the generator's own file."""
