"""The frames of untrimmed videos, or their stem tokens, as rows from which windows are cut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import BATCH_FRAMES, Progress
from maclip.data.disk_cache import ClipCache, Rows, clip_key
from maclip.data.episodes import Ids
from maclip.data.prefetch import prefetch
from maclip.data.shared_memory import require_memory
from maclip.data.stem_cache import Stem
from maclip.data.stream_windows import Happening, Timeline
from maclip.data.untrimmed import UntrimmedVideo, require_inside
from maclip_runtime.bundle.names import name_key
from maclip_runtime.reading.frames import Indices


class StreamStore:
    """Reads untrimmed videos once, `rate` frames a second, and keeps them in memory.

    videos: with their actions.
    names: of the classes, in order; actions of other classes are strangers and belong to no window of a class.
    reader: of the model.
    rate: frames a second that are kept.
    workers: threads that decode.
    """

    def __init__(
        self, videos: Sequence[UntrimmedVideo], names: Sequence[str], reader: ClipReader, *, rate: float, workers: int
    ) -> None:
        self.videos, self.reader, self.rate, self.workers = tuple(videos), reader, rate, workers
        self._labels = {name_key(name): label for label, name in enumerate(names)}
        self._strangers = len(names)  # labels from here on are of no class
        self._rows: Tensor | None = None
        self.timelines: tuple[Timeline, ...] = ()

    @torch.no_grad()
    def read(self, stem: Stem | None, *, disk: ClipCache | None = None, progress: Progress | None = None) -> None:
        """Read all videos: as stem tokens, half precision [N+1, D] a frame, or as pixels if `stem` is None.

        disk: tokens of the same videos and stem in it are used, others are written to it.
        progress: called with the videos done and the videos in all.
        Raises `annotations-invalid` if a segment leaves its file, `memory-short` and what reading a clip raises.
        """
        parts: list[Tensor] = []
        timelines: list[Timeline] = []
        first = 0
        if stem is None:
            disk = None
        keys = [self._key(video.path, stem) for video in self.videos]
        jobs = [
            (video.path, None if disk is None or key is None else disk.get(key))
            for video, key in zip(self.videos, keys, strict=True)
        ]
        for done, (rows_read, duration_s) in enumerate(prefetch(self._read, jobs, self.workers)):
            frames = torch.from_numpy(rows_read)
            if stem is not None and jobs[done][1] is None:
                frames = torch.cat([stem.encode(part).half().cpu() for part in frames.split(BATCH_FRAMES)])
                key = keys[done]
                if disk is not None and key is not None:
                    disk.put(key, frames.numpy())
            require_inside(self.videos[done], duration_s)
            if not parts:
                require_memory(len(self.videos) * frames.numel() * frames.element_size())
            parts.append(frames)
            times = np.arange(len(frames)) * duration_s / len(frames)
            rows = np.arange(first, first + len(frames))
            timelines.append(Timeline(rows, times, duration_s, self._happenings(self.videos[done])))
            first += len(frames)
            if progress:
                progress(done + 1, len(self.videos))
        self._rows, self.timelines = torch.cat(parts), tuple(timelines)

    def load(self, rows: Ids) -> Tensor:
        """The frames `rows` [n, T]: stem tokens, half precision [n, T, N+1, D], or uint8 [n, T, H, W, 3]."""
        assert self._rows is not None
        return self._rows[torch.from_numpy(rows)]

    def _happenings(self, video: UntrimmedVideo) -> tuple[Happening, ...]:
        labels = (self._labels.get(name_key(one.name), self._strangers) for one in video.segments)
        return tuple(
            Happening(label, one.start_s, one.end_s) for label, one in zip(labels, video.segments, strict=True)
        )

    def _read(self, job: tuple[Path, Rows | None]) -> tuple[Rows, float]:
        """Frames of a video, uint8 [n, size, size, 3] or tokens that are cached, and its duration in seconds."""
        path, tokens = job
        duration_s = self.reader.read(path, lambda total: np.zeros(1, np.int64)).duration_s
        if tokens is not None:
            return tokens, duration_s
        choose = partial(_spaced, count=max(1, round(duration_s * self.rate)))
        return self.reader.prepared(path, choose).frames, duration_s

    def _key(self, path: Path, stem: Stem | None) -> str | None:
        return None if stem is None else clip_key(path, "stream", self.rate, *stem.identity)


def _spaced(total: int, count: int) -> Indices:
    """`count` evenly spaced indices into `total` frames, the first one first; all of fewer frames."""
    return np.arange(total) if total <= count else (np.arange(count) * total / count).astype(np.int64)
