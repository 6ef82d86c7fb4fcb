"""Untrimmed videos through the network: every window as recognition cuts it, and every segment as a clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maclip.data.clip_store import Progress
from maclip.data.segment_reader import read_segments
from maclip.data.untrimmed import UntrimmedVideo, overlaps
from maclip.evaluation.streams.galleries import Cut, group_cuts
from maclip.segments import Segment
from maclip_runtime.bundle.names import name_key
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet, in_order
from maclip_runtime.reading.frames import Floats, Pixels, prepare
from maclip_runtime.sources import SourceOptions, open_source
from maclip_runtime.streaming import Grid, watch_features


@dataclass(frozen=True)
class SeenVideo:
    """One video after the network saw it: windows [n, T, D'] from `start_s` [n], and what was cut out of it.

    By segment: `clips` uint8 [T, size, size, 3] and `features` [T, D'], None where it is too short. `alone`: whether no
    other segment overlaps it.
    """

    path: Path
    duration_s: float
    windows: Floats
    start_s: npt.NDArray[np.float64]
    segments: tuple[Segment, ...]
    clips: tuple[Pixels | None, ...]
    features: tuple[Floats | None, ...]
    alone: tuple[bool, ...]


@dataclass(frozen=True)
class Watching:
    """A job whose shares are videos; the one part of each is what was seen of it, or why it cannot be read."""

    encoder: Encoder
    grid: Grid
    spelling: Mapping[str, str]

    def parts(self, share: UntrimmedVideo, skip: int) -> Iterator[SeenVideo | MaclipError]:
        """What was seen of a video. Raises `clip-too-short` for one shorter than a window."""
        if skip:
            return
        try:
            yield _see(share, self.spelling, self.encoder, self.grid)
        except MaclipError as error:
            if error.code != "clip-unreadable":
                raise
            yield error


def watch_videos(
    videos: Sequence[UntrimmedVideo],
    spelling: Mapping[str, str],
    encoder: Encoder,
    grid: Grid,
    max_broken: float,
    progress: Progress,
    fleet: Fleet = HERE,
) -> tuple[list[SeenVideo], list[str]]:
    """Every video through the network, and a line about every video, and about the segments, that are left out.

    spelling: one spelling of each action's name, by its key.
    max_broken: largest share of unreadable videos.
    fleet: whose workers watch the videos; default: this process.
    Raises `clip-unreadable`, and `clip-too-short` for a video shorter than a window.
    """
    seen: list[SeenVideo] = []
    left_out: list[str] = []
    short = 0
    placed = [replace(video, path=video.path.absolute()) for video in videos]  # a worker is in another folder
    for done, found in enumerate(in_order(fleet, Watching(encoder, grid, spelling), placed), start=1):
        if isinstance(found, MaclipError):
            left_out.append(f"left out: {found.code}: {found.message}")
            if len(left_out) > max_broken * len(videos):
                raise found
        else:
            seen.append(found)
            short += sum(clip is None for clip in found.clips)
        progress(done, len(videos))
    if short:
        left_out.append(f"{short} segments have fewer than {grid.frames} frames; they are neither enrolled nor cut out")
    return seen, left_out


def usable_cuts(seen: Sequence[SeenVideo]) -> dict[str, list[Cut]]:
    """The segments that can be enrolled, by action."""
    return group_cuts(
        (number, place, one.name)
        for number, video in enumerate(seen)
        for place, (one, clip) in enumerate(zip(video.segments, video.clips, strict=True))
        if clip is not None
    )


def _see(video: UntrimmedVideo, spelling: Mapping[str, str], encoder: Encoder, grid: Grid) -> SeenVideo:
    preprocess = encoder.bundle.manifest.preprocess
    segments = tuple(Segment(spelling[name_key(one.name)], one.start_s, one.end_s) for one in video.segments)
    cut = read_segments(video.path, segments, grid.frames, preprocess)
    with open_source(str(video.path.resolve()), SourceOptions()) as source:
        windows = list(watch_features(source, encoder, grid, partial(prepare, preprocess=preprocess)))
    if not windows:
        raise MaclipError(
            "clip-too-short",
            f"{video.path} lasts {cut.duration_s:.1f} s, less than a window of {grid.window_s:.1f} s.",
            "Give a shorter --window, or remove the video from the annotations.",
        )
    crowded = {id(one) for pair in overlaps(segments) for one in pair}
    return SeenVideo(
        video.path,
        cut.duration_s,
        np.stack([one.features for one in windows]),
        np.array([one.start_s for one in windows]),
        segments,
        cut.clips,
        tuple(None if clip is None else encoder.features(clip[None])[0] for clip in cut.clips),
        tuple(id(one) not in crowded for one in segments),
    )
