"""A clip as the model takes it: its centre view, frames for the stem, or a random view; decoded, or from a cache.

With a cache nothing else comes out: the same frames are cut from the same pixels, and as many random numbers drawn.
Only of a video that holds fewer frames than it promises may a random view be another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from maclip.data.decoding import decoder_version, reader
from maclip.data.disk_cache import ClipCache, clip_key
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.clip import Choose, Clip, Transform
from maclip_runtime.reading.frames import Indices, Pixels, Preprocess, crop, prepare, resize_to_crop, segment_indices


@dataclass(frozen=True)
class ClipReader:
    """Reads clips as `frames` (T) frames for a model with `preprocess`.

    `view_frames` bounds what random views choose from: that many frames spread evenly over the clip, 0 for all. It is
    what a `cache` holds of a clip for training: 0 keeps every frame, 260 kB each at 256 x 340 px.
    """

    preprocess: Preprocess
    frames: int
    decoder: str = "pyav"
    cache: ClipCache | None = None
    view_frames: int = 0

    def __post_init__(self) -> None:
        reader(self.decoder)  # refused now, not at the first clip
        if self.view_frames and self.view_frames < self.frames:
            raise MaclipError(
                "option-invalid",
                f"Views of {self.frames} frames cannot be chosen among {self.view_frames}.",
                "Raise --view-frames, or leave it at 0.",
            )

    def centre(self, path: Path) -> Pixels:
        """The centre of each segment, centre crop: uint8 [T, size, size, 3]. Raises `clip-*`, as all here."""
        return self._kept(path, partial(segment_indices, frames=self.frames), self._square, f"centre {self.frames}")

    def spread(self, path: Path, count: int) -> Pixels:
        """`count` frames spread evenly, or all of a shorter clip, centre crop: uint8 [F, size, size, 3], T to `count`.

        A clip of fewer frames than T is refused.
        """
        return self._kept(path, partial(_spread, count=count, least=self.frames), self._square, f"spread {count}")

    def random(self, path: Path, rng: np.random.Generator, mirror: bool = False) -> Pixels:
        """A random place in each segment, one random crop for all: uint8 [T, size, size, 3].

        Where `mirror` allows it, a coin's toss of mirroring.
        """
        return self._crop(self._pick(path, lambda count: segment_indices(count, self.frames, rng)), rng, mirror)

    def several(self, path: Path, views: int, rng: np.random.Generator, mirror: bool = False) -> Pixels:
        """So many random `views` of a clip that is read once: uint8 [views T, size, size, 3]."""
        chosen: list[Indices] = []

        def choose(count: int) -> Indices:
            chosen[:] = [segment_indices(count, self.frames, rng) for _ in range(views)]
            return np.unique(np.concatenate(chosen))

        frames = self._pick(path, choose)
        kept = np.unique(np.concatenate(chosen))
        return np.concatenate([self._crop(frames[np.searchsorted(kept, view)], rng, mirror) for view in chosen])

    def read(self, path: Path, choose: Choose) -> Clip:
        """The frames that `choose` names, whole and resized as random views are, without the cache."""
        return reader(self.decoder)(path, choose, self._whole)

    def _crop(self, frames: Pixels, rng: np.random.Generator, mirror: bool) -> Pixels:
        size = self.preprocess.size
        height, width = frames.shape[1:3]
        top = int(rng.integers(height - size + 1))
        left = int(rng.integers(width - size + 1))
        pixels = crop(frames, size, top, left)
        return pixels[:, :, ::-1] if mirror and rng.random() < 0.5 else pixels

    def _pick(self, path: Path, view: Choose) -> Pixels:
        """The resized frames that `view` picks of those that views are drawn from: uint8 [n, h, w, 3]."""

        def choose(total: int) -> Indices:
            return self._choices(total)[view(len(self._choices(total)))]

        key = self._key(path, f"views {self.view_frames}")
        if self.cache is None or key is None:
            return self.read(path, choose).frames
        found = self.cache.get(key, view, least=self.frames)  # a clip too short for T is refused by its reader
        if found is not None:
            return found
        if not self.cache.writable:  # decoding all frames for nothing
            return self.read(path, choose).frames
        rows = self.read(path, self._choices).frames
        self.cache.put(key, rows)
        return rows[view(len(rows))]

    def _choices(self, total: int) -> Indices:
        return _spread(total, self.view_frames or total, self.frames)

    def _kept(self, path: Path, choose: Choose, transform: Transform, what: str) -> Pixels:
        key = self._key(path, what)
        found = None if self.cache is None or key is None else self.cache.get(key, least=self.frames)
        if found is not None:
            return found
        frames = reader(self.decoder)(path, choose, transform).frames
        if self.cache is not None and key is not None:
            self.cache.put(key, frames)
        return frames

    def _key(self, path: Path, what: str) -> str | None:
        size = self.preprocess.resize, self.preprocess.size
        return None if self.cache is None else clip_key(path, what, size, decoder_version(self.decoder))

    def _square(self, frame: Pixels) -> Pixels:
        return prepare(frame, self.preprocess)

    def _whole(self, frame: Pixels) -> Pixels:
        return resize_to_crop(frame, self.preprocess)


def load_clip(
    path: Path, preprocess: Preprocess, frames: int, rng: np.random.Generator | None = None, mirror: bool = False
) -> Pixels:
    """A clip as the model takes it, uint8 [T, size, size, 3]: without `rng` its centre view, with it a random one."""
    clips = ClipReader(preprocess, frames)
    return clips.centre(path) if rng is None else clips.random(path, rng, mirror)


def _spread(total: int, count: int, least: int) -> Indices:
    """`count` of `total` indices spread evenly, all where there are fewer, but never fewer than `least`."""
    if total >= count and total >= least:
        return segment_indices(total, count)
    return np.arange(max(total, least), dtype=np.int64)  # where `least` is more than there is, the reader refuses
