"""Recording a take from a camera, prepared frame by frame so that it stays small in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels, Preprocess, prepare
from maclip_runtime.reading.take import Take
from maclip_runtime.sources import Source, SourceState

MAX_SECONDS = 60.0  # of a take or a countdown: an action is shorter, and its frames are kept in memory
SILENCE_SECONDS = 10.0  # without a frame, before a recording is given up
WAIT_SECONDS = 0.1


def record(
    source: Source,
    seconds: float,
    preprocess: Preprocess,
    countdown_s: float = 0.0,
    progress: Callable[[float, bool], None] | None = None,
) -> Take:
    """Record one take of an open source; it starts anew if the camera is lost on the way.

    Args:
        source: where the frames come from.
        seconds: length of the take, at most 60.
        preprocess: how the bundle prepares frames.
        countdown_s: seconds before the recording starts; a file does not wait.
        progress: called with the seconds left, and whether it is recording yet.

    Raises `option-invalid`, `source-lost`, `clip-too-short` if the source ends before its first frame.
    """
    if not 0 < seconds <= MAX_SECONDS or not 0 <= countdown_s <= MAX_SECONDS:
        raise MaclipError(
            "option-invalid",
            f"A recording of {seconds:g} s after {countdown_s:g} s is not possible.",
            f"Give seconds above 0, at most {MAX_SECONDS:g}.",
        )
    if source.live:
        _drain(source, countdown_s, progress)
    made = partial(prepare, preprocess=preprocess)
    frames: list[Pixels] = []
    first_s = last_s = step_s = 0.0
    heard = time.monotonic()
    while not frames or last_s + step_s - first_s < seconds - 1e-6:
        frame = source.read(WAIT_SECONDS if source.live else None)
        if frame is None:
            if not source.live or source.status.state is SourceState.ENDED:
                break
            heard = _still_there(source, heard)
            continue
        heard = time.monotonic()
        if frame.restarted:
            frames.clear()
        if frames:
            step_s = frame.time_s - last_s
        else:
            first_s, step_s = frame.time_s, 0.0
        last_s = frame.time_s
        frames.append(made(frame.pixels))
        if progress:
            progress(max(0.0, seconds - (last_s - first_s)), True)
    if not frames:
        raise MaclipError(
            "clip-too-short", f"{source.name} ended before anything was recorded.", "Give a source that goes on."
        )
    return Take(np.stack(frames), max(last_s + step_s - first_s, 1e-3), source.name, prepared=True)


def _drain(source: Source, countdown_s: float, progress: Callable[[float, bool], None] | None) -> None:
    """Count down, and drop the frames that come meanwhile."""
    until = time.monotonic() + countdown_s
    while (left_s := until - time.monotonic()) > 0:
        if progress:
            progress(math.ceil(left_s), False)
        source.read(min(WAIT_SECONDS, left_s))
        if source.status.state is SourceState.ENDED:
            return
        time.sleep(min(0.02, max(0.0, until - time.monotonic())))


def _still_there(source: Source, heard: float) -> float:
    """When the last frame came. Raises `source-lost` if that is too long ago."""
    if time.monotonic() - heard > SILENCE_SECONDS:
        raise MaclipError(
            "source-lost",
            f"{source.name} sent no frame for {SILENCE_SECONDS:g} s.",
            "Check that the camera is on and its address is right.",
        )
    return heard
