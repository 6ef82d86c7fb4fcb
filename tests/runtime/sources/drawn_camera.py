"""A live source that needs no camera."""

from __future__ import annotations

import numpy as np
from videos import color_frames

from maclip_runtime import Frame
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Source, SourceState, SourceStatus


class Camera(Source):
    """A live source that gives drawn frames, 10 a second, as fast as they are asked for; then ends or fails."""

    def __init__(self, name: str, frames: list[Frame], error: MaclipError | None = None) -> None:
        super().__init__(name, live=True)
        self._frames = iter(frames)
        self._error = error
        self._state = SourceState.RUNNING
        self.given = 0

    def read(self, timeout_s: float | None = None) -> Frame | None:
        frame = next(self._frames, None)
        if frame is not None:
            self.given += 1
            return frame
        if self._error:
            raise self._error
        self._state = SourceState.ENDED
        return None

    @property
    def status(self) -> SourceStatus:
        return SourceStatus(self.name, self._state, 0.0, self.given, 0, 0, 10.0, "")

    def close(self) -> None:
        pass


def camera_frames(*parts: tuple[str, float], start_s: float = 0.0, restarted: bool = False) -> list[Frame]:
    pixels = np.concatenate([color_frames(color, round(seconds * 10), i) for i, (color, seconds) in enumerate(parts)])
    return [Frame(one, start_s + i / 10, i, restarted and i == 0) for i, one in enumerate(pixels)]
