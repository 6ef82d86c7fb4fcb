"""Where training and evaluation get a clip's pixels or its stem tokens from: decoded when asked, or cached.

The stem is frozen and sees frames one by one, so its output can be computed once for some frames of each
clip and every later view of the clip is a choice among them (method.md section 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from maclip.data import ActionClass, load_clip
from maclip.episodes import Ids
from maclip.model import MaClip
from maclip_runtime.clips import read_clip
from maclip_runtime.frames import prepare, segment_indices

CACHED_FRAMES_PER_SEGMENT = 2
BATCH_FRAMES = 64
DECODING_THREADS = 4

In = TypeVar("In")
Out = TypeVar("Out")
Progress = Callable[[int, int], None]


class ClipStore:
    """The clips of some classes in order; ids count them class by class, as `Episode` does."""

    def __init__(self, model: MaClip, classes: Sequence[ActionClass]) -> None:
        self.model = model
        self.classes = tuple(classes)
        self.paths = [path for c in classes for path in c.clips]
        self.labels: Ids = np.repeat(np.arange(len(classes)), [len(c.clips) for c in classes])
        self._tokens: Tensor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def sizes(self) -> list[int]:
        """Clips a class."""
        return [len(c.clips) for c in self.classes]

    def cache_bytes(self) -> int:
        """What `cache_stem` would hold in memory, in bytes."""
        image = self.model.image
        return len(self) * self._cached_frames() * image.rows * image.width * 2

    @torch.no_grad()
    def cache_stem(self, progress: Progress | None = None, lenders: Iterable[ClipStore] = ()) -> None:
        """Compute the stem once for 2T frames a clip, kept in half precision: [clips, 2T, N+1, D].

        Where one of `lenders` holds the very same, it is taken from there.
        """
        for lender in lenders:
            if lender._tokens is not None and lender._stem_identity() == self._stem_identity():
                self._tokens = lender._tokens
                return
        preprocess, frames, count = self.model.backbone.preprocess, self.model.config.frames, self._cached_frames()

        def choose(total: int) -> Ids:  # a clip of fewer frames than T is refused, one of fewer than 2T taken whole
            return segment_indices(total, count) if total >= count else np.arange(max(total, frames), dtype=np.int64)

        def decode(path: Path) -> Tensor:
            return torch.from_numpy(read_clip(path, choose, lambda frame: prepare(frame, preprocess)).frames)

        device = self.model.pixel_mean.device
        done: list[Tensor] = []
        for pixels in ahead(decode, self.paths, DECODING_THREADS):
            tokens = self.model.stem(_fill(pixels, count).to(device))
            done.append(tokens.half())
            if progress:
                progress(len(done), len(self))
        self._tokens = torch.stack(done)

    def load(self, ids: Ids, rng: np.random.Generator | None = None) -> Tensor:
        """The clips `ids`, without `rng` their centre view, with it a random view of each.

        Cached: stem tokens [n, T, N+1, D] in half precision; else frames uint8 [n, T, H, W, 3].
        """
        if self._tokens is not None:
            views = [segment_indices(self._tokens.shape[1], self.model.config.frames, rng) for _ in ids]
            return self._tokens[torch.from_numpy(ids)[:, None], torch.from_numpy(np.stack(views))]
        config, preprocess = self.model.config, self.model.backbone.preprocess
        clips = [
            load_clip(self.paths[i], preprocess, config.frames, rng, self.classes[self.labels[i]].mirror) for i in ids
        ]
        return torch.from_numpy(np.stack(clips))

    def encode(self, loaded: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """Frame features [n, T, D'] of what `load` returned, with gradients where the model is training."""
        loaded = loaded.to(self.model.pixel_mean.device)
        if loaded.dtype == torch.uint8:
            return self.model.features(loaded, text, has_text)
        return self.model.tower(loaded.to(self.model.pixel_mean.dtype), text, has_text)

    @torch.no_grad()
    def both_branches(
        self, text: Tensor | None, rng: np.random.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """One view of every clip: with its own class's `text` [classes, D'], and as a query: two [clips, T, D']."""
        support, query = [], []
        batch = max(1, BATCH_FRAMES // self.model.config.frames)
        batches = [np.arange(at, min(at + batch, len(self))) for at in range(0, len(self), batch)]
        seeds = [None if rng is None else rng.spawn(1)[0] for _ in batches]
        for ids, loaded in zip(
            batches, ahead(lambda job: self.load(*job), zip(batches, seeds, strict=True), 2), strict=True
        ):
            query.append(self.encode(loaded))
            # Where nothing is adapted the text changes no feature.
            if text is None or not self.model.adapted_depth:
                support.append(query[-1])
            else:
                support.append(self.encode(loaded, text[torch.from_numpy(self.labels[ids]).to(text.device)]))
            if progress:
                progress(int(ids[-1]) + 1, len(self))
        return torch.cat(support), torch.cat(query)

    def _cached_frames(self) -> int:
        return self.model.config.frames * CACHED_FRAMES_PER_SEGMENT

    def _stem_identity(self) -> tuple[object, ...]:
        """All that stem tokens depend on: no tuned tensor does."""
        model = self.model
        stem = (
            model.backbone.sha256,
            model.backbone.preprocess,
            model.tower_start,
            model.adapted_depth == model.layers,
        )
        return (*stem, model.config.frames, tuple(self.paths))


def ahead(work: Callable[[In], Out], jobs: Iterable[In], threads: int) -> Iterator[Out]:
    """`work` over `jobs` in order, computed in threads a little ahead: decoding does not hold Python's lock."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(jobs)
        pending = [pool.submit(work, job) for job in islice(waiting, threads + 1)]
        try:
            while pending:
                result = pending.pop(0).result()
                pending.extend(pool.submit(work, job) for job in islice(waiting, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()


def _fill(pixels: Tensor, count: int) -> Tensor:
    """Repeat frames of a short clip evenly up to `count`: [F, H, W, 3] -> [count, H, W, 3]."""
    if len(pixels) == count:
        return pixels
    return pixels[torch.from_numpy(segment_indices(len(pixels), count))]
