"""Read a clip as the model's input: the centre view, evenly spaced frames, or random views; decoded or from a cache.

The result does not depend on the cache: frames, crops and the number of random draws are the same. The one exception is
a random view of a video with fewer frames than its container declares.
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
    """Reads clips as frames for the model.

    preprocess: resizing, crop and normalisation of the model.
    frames: frames of a view (T).
    decoder: "pyav" (default) or "decord".
    cache: holds resized frames on disk; default None.
    view_frames: random views choose among this many evenly spaced frames of a clip; default 0: among all. A cache holds
        these frames: 260 kB each at 256 x 340 px.
    """

    preprocess: Preprocess
    frames: int
    decoder: str = "pyav"
    cache: ClipCache | None = None
    view_frames: int = 0

    def __post_init__(self) -> None:
        reader(self.decoder)  # raises now, not at the first clip
        if self.view_frames and self.view_frames < self.frames:
            raise MaclipError(
                "option-invalid",
                f"--view-frames is {self.view_frames}, fewer than the {self.frames} frames of a view.",
                "Raise --view-frames, or leave it at 0.",
            )

    def centre(self, path: Path) -> Pixels:
        """Centre frames of the segments, centre crop: uint8 [T, size, size, 3]. Raises `clip-*`, like all methods."""
        return self._cached(path, partial(segment_indices, frames=self.frames), self._square, f"centre {self.frames}")

    def spread(self, path: Path, count: int) -> Pixels:
        """`count` evenly spaced frames, or all frames of a shorter clip, centre crop: uint8 [F, size, size, 3].

        F is between T and `count`. A clip of fewer than T frames is an error.
        """
        return self._cached(path, partial(_spread, count=count, minimum=self.frames), self._square, f"spread {count}")

    def random(self, path: Path, rng: np.random.Generator, mirror: bool = False) -> Pixels:
        """A random frame of each segment, the same random crop for all: uint8 [T, size, size, 3].

        mirror: flip horizontally with probability 0.5.
        """
        return self._crop(self._pick(path, lambda count: segment_indices(count, self.frames, rng)), rng, mirror)

    def random_views(self, path: Path, views: int, rng: np.random.Generator, mirror: bool = False) -> Pixels:
        """`views` random views of a clip, which is read once: uint8 [views T, size, size, 3]."""
        chosen: list[Indices] = []

        def choose(count: int) -> Indices:
            chosen[:] = [segment_indices(count, self.frames, rng) for _ in range(views)]
            return np.unique(np.concatenate(chosen))

        frames = self._pick(path, choose)
        kept = np.unique(np.concatenate(chosen))
        return np.concatenate([self._crop(frames[np.searchsorted(kept, view)], rng, mirror) for view in chosen])

    def read(self, path: Path, choose: Choose) -> Clip:
        """The frames that `choose` selects, resized but not cropped; never cached."""
        return reader(self.decoder)(path, choose, self._whole)

    def prepared(self, path: Path, choose: Choose) -> Clip:
        """The frames that `choose` selects, centre crop: uint8 [n, size, size, 3]; never cached."""
        return reader(self.decoder)(path, choose, self._square)

    def _crop(self, frames: Pixels, rng: np.random.Generator, mirror: bool) -> Pixels:
        size = self.preprocess.size
        height, width = frames.shape[1:3]
        top = int(rng.integers(height - size + 1))
        left = int(rng.integers(width - size + 1))
        pixels = crop(frames, size, top, left)
        return pixels[:, :, ::-1] if mirror and rng.random() < 0.5 else pixels

    def _pick(self, path: Path, view: Choose) -> Pixels:
        """The resized frames that `view` selects among those that random views use: uint8 [n, h, w, 3]."""

        def choose(total: int) -> Indices:
            return self._choices(total)[view(len(self._choices(total)))]

        key = self._key(path, f"views {self.view_frames}")
        if self.cache is None or key is None:
            return self.read(path, choose).frames
        found = self.cache.get(key, view, min_rows=self.frames)  # for a clip shorter than T the reader raises
        if found is not None:
            return found
        if not self.cache.writable:  # do not decode frames that cannot be cached
            return self.read(path, choose).frames
        rows = self.read(path, self._choices).frames
        self.cache.put(key, rows)
        return rows[view(len(rows))]

    def _choices(self, total: int) -> Indices:
        return _spread(total, self.view_frames or total, self.frames)

    def _cached(self, path: Path, choose: Choose, transform: Transform, what: str) -> Pixels:
        key = self._key(path, what)
        found = None if self.cache is None or key is None else self.cache.get(key, min_rows=self.frames)
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


def _spread(total: int, count: int, minimum: int) -> Indices:
    """`count` evenly spaced indices into `total` frames, or all indices if there are fewer; at least `minimum`."""
    if total >= count and total >= minimum:
        return segment_indices(total, count)
    return np.arange(max(total, minimum), dtype=np.int64)  # if the clip is too short, the reader raises
