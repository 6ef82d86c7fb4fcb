"""Check a dataset: read every clip once; report unreadable clips, lengths and clips per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import DECODING_THREADS, Progress
from maclip.data.dataset import ActionClass
from maclip.data.prefetch import prefetch
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess, segment_indices

ANY_MODEL = Preprocess.for_size(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Problem:
    """A clip that cannot be read, with the error's code and message."""

    clip: str
    code: str
    message: str


@dataclass(frozen=True)
class ClassReport:
    """One class: number of readable and unreadable clips; min, median and max length in frames and seconds."""

    name: str
    split: str | None
    clips: int
    unreadable: int
    frames: tuple[int, int, int]
    seconds: tuple[float, float, float]


@dataclass(frozen=True)
class DataReport:
    """Reports of all classes, and all clips that cannot be read."""

    classes: tuple[ClassReport, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Read:
    frames: int
    seconds: float
    problem: Problem | None = None


def check_clips(classes: Sequence[ActionClass], frames: int, progress: Progress | None = None) -> DataReport:
    """Read `frames` frames of every clip with the reader that training uses, so that both refuse the same clips."""
    reader = ClipReader(ANY_MODEL, frames)
    clips = [clip for c in classes for clip in c.clips]
    reads: list[_Read] = []
    for read in prefetch(partial(_read, reader=reader), clips, DECODING_THREADS):
        reads.append(read)
        if progress:
            progress(len(reads), len(clips))
    reports, start = [], 0
    for c in classes:
        own = reads[start : start + len(c.clips)]
        start += len(own)
        good = [read for read in own if read.problem is None]
        lengths = np.array([read.frames for read in good] or [0])
        seconds = np.array([read.seconds for read in good] or [0.0])
        reports.append(
            ClassReport(
                c.name,
                c.split,
                len(good),
                len(own) - len(good),
                (int(lengths.min()), int(np.median(lengths)), int(lengths.max())),
                (float(seconds.min()), float(np.median(seconds)), float(seconds.max())),
            )
        )
    return DataReport(tuple(reports), tuple(read.problem for read in reads if read.problem))


def _read(path: Path, reader: ClipReader) -> _Read:
    try:
        clip = reader.read(path, partial(segment_indices, frames=reader.frames))
    except MaclipError as error:
        return _Read(0, 0.0, Problem(str(path), error.code, error.message))
    return _Read(clip.total, clip.duration_s)
