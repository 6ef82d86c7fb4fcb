"""Read a whole clip: count its frames, choose some, decode no further than needed. Training uses it too."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading import video
from maclip_runtime.reading.frames import Indices, Pixels
from maclip_runtime.reading.pictures import FOLDER_RATE, list_pictures, read_picture
from maclip_runtime.reading.times import length_s

Choose = Callable[[int], Indices]
Transform = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Clip:
    """Frames chosen from a clip.

    `frames` is uint8 [T, H, W, 3] RGB, `indices` int64 [T] their positions among the clip's `total` frames,
    `duration_s` the length of the whole clip in seconds.
    """

    frames: Pixels
    indices: Indices
    total: int
    duration_s: float
    path: Path


def read_clip(path: str | PathLike[str], choose: Choose, transform: Transform | None = None) -> Clip:
    """Read chosen frames of a video file or a folder of pictures. Thread-safe.

    path: the video file or folder.
    choose: maps the number of frames to int64 [T] indices, for instance `segment_indices`; it is called again with a
        smaller number where some frames are broken.
    transform: applied to each chosen frame when it is decoded, uint8 [H, W, 3] -> uint8 [h, w, 3], which saves memory.

    Raises `clip-unreadable`, and `clip-too-short` where the clip has fewer frames than `choose` returns indices.
    """
    path = Path(values.path(path, "clip"))
    if os.path.isdir(path):  # false, not an error, where the system refuses the path
        return _read_folder(path, choose, transform)
    return _read_video(path, choose, transform)


def _read_video(path: Path, choose: Choose, transform: Transform | None) -> Clip:
    container, stream = video.open_file(path)
    with container:
        total, duration = video.extent(container, stream)
    indices = _chosen(path, choose, total)
    frames, decoded, decoded_s = _decode_chosen(path, indices, transform)
    if len(frames) < len(set(indices.tolist())):
        # Fewer frames could be decoded than the container claims: choose again among those.
        total, duration = decoded, decoded_s
        indices = _chosen(path, choose, total)
        frames, _, _ = _decode_chosen(path, indices, transform)
    return Clip(_stack(path, frames, indices), indices, total, duration, path)


def _decode_chosen(path: Path, indices: Indices, transform: Transform | None) -> tuple[dict[int, Pixels], int, float]:
    """The frames at `indices` by index, how many were decoded, and their seconds; stops after the last wanted one."""
    wanted, last = set(indices.tolist()), int(indices.max())
    frames: dict[int, Pixels] = {}
    decoded, reached_s = 0, 0.0
    container, stream = video.open_file(path)
    with container:
        step_s = 1 / video.rate(stream)
        for frame, time_s in video.timed_frames(container, stream, path):
            if decoded in wanted:
                pixels = video.upright(frame)
                frames[decoded] = transform(pixels) if transform else pixels
            decoded, reached_s = decoded + 1, time_s
            if decoded > last:
                break
    return frames, decoded, length_s(reached_s, decoded, step_s)


def _read_folder(path: Path, choose: Choose, transform: Transform | None) -> Clip:
    pictures = list_pictures(path)
    duration = len(pictures) / FOLDER_RATE
    while True:
        indices = _chosen(path, choose, len(pictures))
        frames: dict[int, Pixels] = {}
        broken: set[int] = set()
        for index in sorted(set(indices.tolist())):
            try:
                pixels = read_picture(pictures[index])
                frames[index] = transform(pixels) if transform else pixels
            except MaclipError:
                broken.add(index)
        if not broken:
            return Clip(_stack(path, frames, indices), indices, len(pictures), duration, path)
        pictures = [picture for index, picture in enumerate(pictures) if index not in broken]


def _chosen(path: Path, choose: Choose, total: int) -> Indices:
    if total == 0:
        raise video.unreadable(path, "has no frame that can be decoded")
    indices = np.asarray(choose(total), dtype=np.int64)
    if total < len(indices):
        raise MaclipError(
            "clip-too-short",
            f"{path} has {total} {'frame' if total == 1 else 'frames'}; at least {len(indices)} are needed.",
            "Give a longer clip of the action.",
        )
    return indices


def _stack(path: Path, frames: dict[int, Pixels], indices: Indices) -> Pixels:
    if len({frame.shape for frame in frames.values()}) > 1:
        raise video.unreadable(path, "has frames of different sizes")
    return np.stack([frames[index] for index in indices.tolist()])
