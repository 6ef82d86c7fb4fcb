"""Whole clips as the network sees them: T frames, sampled over the clip and prepared as the bundle asks."""

from __future__ import annotations

from functools import partial
from os import PathLike

import numpy as np

from maclip_runtime import values
from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import Pixels, prepare, segment_indices
from maclip_runtime.reading.take import Take
from maclip_runtime.sources import Roi, is_recorded, local_path, redact, scheme_of
from maclip_runtime.sources.whole import read_whole


def read_take(path: str | PathLike[str], manifest: Manifest, roi: Roi | None = None) -> Take:
    """Read T prepared frames of a video, a folder of frames or a ROS bag; with `roi` only that part of each picture.

    Raises `clip-unreadable`, `clip-too-short`, and what a recorded source raises.
    """
    on_disk = scheme_of(str(path)) in {"", "file"}
    if not on_disk and not is_recorded(path):
        raise MaclipError(
            "clip-unreadable",
            f"{redact(path)} cannot be read as a whole clip: only a video file, a folder of frames or a recording can.",
            "Give a file or a folder; in a stream, give a source that lasts longer than the window.",
        )

    def prepared(frame: Pixels) -> Pixels:
        return prepare(frame if roi is None else roi.view(frame), manifest.preprocess)

    choose = partial(segment_indices, frames=manifest.frames)
    if not on_disk:
        frames, duration_s = read_whole(str(path), choose, prepared)
        return Take(frames, duration_s, redact(path), prepared=True)
    clip = read_clip(local_path(path), choose, prepared)
    return Take(clip.frames, clip.duration_s, redact(path), prepared=True)


def sampled(take: Take, manifest: Manifest) -> Pixels:
    """T prepared frames of a clip in memory, uint8 [T, size, size, 3], sampled as those of a file are.

    Raises `frames-invalid`, `clip-too-short`.
    """
    frames = values.pixels(take.frames, "frames", "N, H, W, 3")
    if len(frames) < manifest.frames:
        raise MaclipError(
            "clip-too-short",
            f"{take.source} has {len(frames)} frames; at least {manifest.frames} are needed.",
            "Give a longer clip of the action.",
        )
    chosen = frames[segment_indices(len(frames), manifest.frames)]
    return chosen if take.prepared else np.stack([prepare(frame, manifest.preprocess) for frame in chosen])
