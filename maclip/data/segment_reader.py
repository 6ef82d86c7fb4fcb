"""Segments of an untrimmed video as clips: each is cut out exactly, and sampled as a whole clip is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maclip.segments import Segment
from maclip_runtime.reading import video
from maclip_runtime.reading.frames import Indices, Pixels, Preprocess, prepare, segment_indices
from maclip_runtime.reading.times import length_s


@dataclass(frozen=True)
class SegmentClips:
    """What was cut out of a video of `duration_s` seconds: by segment uint8 [T, size, size, 3], None if too short."""

    duration_s: float
    clips: tuple[Pixels | None, ...]


def read_segments(path: Path, segments: Sequence[Segment], frames: int, preprocess: Preprocess) -> SegmentClips:
    """Cut `segments` out of the video at `path`.

    frames: T, evenly spaced over each segment. A segment of fewer frames is too short.
    preprocess: of the model.
    Decodes the video twice, and keeps only the frames that are used. Raises `clip-unreadable`.
    """
    container, stream = video.open_file(path)
    with container:
        step_s = 1 / video.rate(stream)
        times = np.array([time_s for _, time_s in video.timed_frames(container, stream, path)])
    duration_s = length_s(float(times[-1]), len(times), step_s)
    wanted: list[Indices | None] = []
    for one in segments:
        # A frame belongs to the segment if most of the time that it is shown does.
        first, last = np.searchsorted(times + duration_s / len(times) / 2, (one.start_s, one.end_s))
        wanted.append(first + segment_indices(last - first, frames) if last - first >= frames else None)
    used = set(np.concatenate([np.zeros(0, np.int64), *(one for one in wanted if one is not None)]).tolist())
    kept: dict[int, Pixels] = {}
    container, stream = video.open_file(path)
    with container:
        for index, frame in enumerate(video.decode(container, stream)):
            if index in used:
                kept[index] = prepare(video.upright(frame), preprocess)
    clips = tuple(None if one is None else np.stack([kept[index] for index in one.tolist()]) for one in wanted)
    return SegmentClips(duration_s, clips)
