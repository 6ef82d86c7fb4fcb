"""Check untrimmed videos: read every one once; report what is wrong with them and with their annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from maclip.data.check import ANY_MODEL, Problem
from maclip.data.clip_store import DECODING_THREADS, Progress
from maclip.data.prefetch import prefetch
from maclip.data.untrimmed import UntrimmedVideo, overlaps, read_annotations, require_inside
from maclip_runtime.bundle.names import name_key
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import prepare, segment_indices


@dataclass(frozen=True)
class NameReport:
    """One action in one split: videos it happens in, its segments, and their min, median and max seconds."""

    name: str
    split: str | None
    videos: int
    segments: int
    seconds: tuple[float, float, float]


@dataclass(frozen=True)
class UntrimmedReport:
    """Untrimmed videos.

    names: one report for each action and split.
    videos, seconds: readable videos, and how long they last in all.
    annotated_seconds: how much of that lies in a segment.
    without_segments: readable videos in which nothing is annotated.
    overlaps: pairs of segments of different names that share some time; allowed.
    several_splits: actions that happen in more than one split.
    problems: videos and entries that cannot be used.
    """

    names: tuple[NameReport, ...]
    videos: int
    seconds: float
    annotated_seconds: float
    without_segments: int
    overlaps: int
    several_splits: tuple[str, ...]
    problems: tuple[Problem, ...]


def check_untrimmed(
    annotations: str | Path, videos: str | Path | None, frames: int, progress: Progress | None = None
) -> UntrimmedReport:
    """Read every entry, and `frames` frames of every video. Raises what `read_annotations` raises."""
    found = read_annotations(annotations, videos)
    problems = [Problem(problem.video, problem.code, problem.message) for problem in found.problems]
    good: list[UntrimmedVideo] = []
    seconds = 0.0
    reads = prefetch(partial(_read, frames=frames), found.videos, DECODING_THREADS)
    for done, (video, read) in enumerate(zip(found.videos, reads, strict=True), start=1):
        if isinstance(read, Problem):
            problems.append(read)
        else:
            good.append(video)
            seconds += read
        if progress:
            progress(done, len(found.videos))
    splits: dict[str, set[str | None]] = {}
    for video in good:
        for one in video.segments:
            splits.setdefault(name_key(one.name), set()).add(video.split)
    return UntrimmedReport(
        tuple(_names(good)),
        len(good),
        round(seconds, 3),
        round(sum(map(_covered_s, good)), 3),
        sum(not video.segments for video in good),
        sum(1 for video in good for _ in overlaps(video.segments)),
        tuple(sorted(name for name, where in splits.items() if len(where) > 1)),
        tuple(problems),
    )


def _read(video: UntrimmedVideo, frames: int) -> float | Problem:
    """How long the video lasts in seconds, or what is wrong with it."""
    try:
        clip = read_clip(video.path, partial(segment_indices, frames=frames), lambda frame: prepare(frame, ANY_MODEL))
    except MaclipError as error:
        return Problem(str(video.path), error.code, error.message)
    try:
        require_inside(video, clip.duration_s)
    except MaclipError as error:
        return Problem(str(video.path), error.code, error.message)
    return clip.duration_s


def _names(videos: Sequence[UntrimmedVideo]) -> Iterable[NameReport]:
    """Reports by split and name."""
    found: dict[tuple[str | None, str], list[tuple[Path, float]]] = {}
    for video in videos:
        for one in video.segments:
            found.setdefault((video.split, one.name), []).append((video.path, one.end_s - one.start_s))
    for (split, name), rows in sorted(found.items(), key=lambda row: (row[0][0] or "", row[0][1])):
        seconds = np.array([length for _, length in rows])
        spread = (float(seconds.min()), float(np.median(seconds)), float(seconds.max()))
        yield NameReport(name, split, len({path for path, _ in rows}), len(rows), spread)


def _covered_s(video: UntrimmedVideo) -> float:
    """Seconds of the video that lie in a segment."""
    total_s, reached_s = 0.0, 0.0
    for one in video.segments:
        total_s += max(0.0, one.end_s - max(one.start_s, reached_s))
        reached_s = max(reached_s, one.end_s)
    return total_s
