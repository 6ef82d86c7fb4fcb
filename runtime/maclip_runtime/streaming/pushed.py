"""Frames that a program hands in itself: for robots that own their camera."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np

from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.sources import Frame
from maclip_runtime.streaming.answering import Answerer
from maclip_runtime.streaming.cutter import Step
from maclip_runtime.streaming.stream import Stream


class Pushed:
    """Streams by name, each fed by its program. Safe from several threads; the frames of one stream take turns."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._streams: dict[str, tuple[Stream, threading.Lock]] = {}
        self._lock = threading.Lock()

    def push(self, pixels: Pixels, time_s: float, source: str, begin: Callable[[], Stream]) -> list[Event]:
        """Take one frame, uint8 [H, W, 3] RGB of `time_s`; the events it causes. `begin` makes a new stream.

        Raises `frames-invalid`.
        """
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
            found = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise MaclipError("frames-invalid", f"A frame is uint8 [H, W, 3], not {found}.", "Give RGB bytes.")
        if 0 in pixels.shape or not math.isfinite(time_s):
            raise MaclipError(
                "frames-invalid", f"A frame of {list(pixels.shape)} at {time_s} s cannot be.", "Give pixels and a time."
            )
        with self._lock:
            if source not in self._streams:
                self._streams[source] = (begin(), threading.Lock())
            stream, turn = self._streams[source]
        with turn:
            return self._events(stream, stream.add(Frame(pixels, time_s, 0)))

    def end(self, source: str) -> list[Event]:
        """The source has no more frames: the events of what is open; nothing for a source that is not known."""
        with self._lock:
            stream, turn = self._streams.pop(source, (None, None))
        if stream is None or turn is None:
            return []
        with turn:
            return self._events(stream, stream.finish()) + stream.end()

    def _events(self, stream: Stream, step: Step) -> list[Event]:
        self._answerer.pass_stem(step.slots)
        events = stream.lose(step)
        for window, answer in zip(step.windows, self._answerer.answers(step.windows), strict=True):
            events = events + stream.decide(answer, window)[1]
        return events
