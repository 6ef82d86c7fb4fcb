"""The clips of some classes: their pixels when asked for, or stem tokens that were computed once.

The stem is frozen and sees frames one by one, so its output can be computed once for some frames of each clip, and
every later view of the clip is a choice among them (docs/method.md, section 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maclip.data.ahead import ahead
from maclip.data.broken_clips import BrokenClips
from maclip.data.clip_reader import ClipReader
from maclip.data.dataset import ActionClass
from maclip.data.decoding import decoder_version
from maclip.data.disk_cache import ClipCache, clip_key
from maclip.data.episodes import Ids
from maclip.data.stem_cache import DiskTokens, MemoryTokens, Stem, StemTokens
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels, segment_indices

CACHED_FRAMES_PER_SEGMENT = 2
BATCH_FRAMES = 64
DECODING_THREADS = 4

Progress = Callable[[int, int], None]


class ClipStore:
    """The clips of some classes in order; ids count them class by class, as `Episode` does.

    classes: the classes whose clips these are.
    reader: how clips are read.
    max_broken: share of the clips that may turn out unreadable.
    views: whether random views will be asked for; without, a cached stem is exactly that of the centre views.
    stem_views: random views of a clip that a cached stem holds beside the centre view, each with its own crop; with 0
        it holds the centre crops of 2T frames, among which random views choose.
    """

    def __init__(
        self,
        classes: Sequence[ActionClass],
        reader: ClipReader,
        *,
        max_broken: float = 0.0,
        views: bool = True,
        stem_views: int = 0,
    ) -> None:
        self.classes = tuple(classes)
        self.paths = [path for c in classes for path in c.clips]
        self.labels: Ids = np.repeat(np.arange(len(classes)), [len(c.clips) for c in classes])
        self.reader = reader
        self.broken = BrokenClips(self.classes, max_broken)
        self.views, self.stem_views = views, stem_views if views else 0
        self._tokens: StemTokens | None = None
        self._identity: tuple[object, ...] = ()  # of the cached tokens

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def sizes(self) -> list[int]:
        """Clips a class."""
        return [len(c.clips) for c in self.classes]

    @property
    def is_cached(self) -> bool:
        """Whether `load` gives stem tokens."""
        return self._tokens is not None

    @property
    def cached_frames(self) -> int:
        """F, how many frames of a clip a cached stem holds: 2T, or (1 + `stem_views`) T, or T without random views."""
        if self.stem_views:
            return self.reader.frames * (1 + self.stem_views)
        return self.reader.frames * (CACHED_FRAMES_PER_SEGMENT if self.views else 1)

    def readable(self) -> npt.NDArray[np.bool_]:
        """Which clips were not found broken: bool [clips]."""
        return np.array([i not in self.broken for i in range(len(self))])

    def look_again(self, paths: Iterable[str]) -> None:
        """Read in full the clips at `paths`, which an earlier part of a training found broken; some may be repaired."""
        wanted = set(paths)
        for i, path in enumerate(self.paths):
            if str(path) in wanted:
                self._attempt(i, lambda path: self.reader.read(path, np.arange).frames)

    def cache_bytes(self, stem: Stem) -> int:
        """What `cache_stem` would hold in memory, in bytes."""
        rows, width = stem.shape
        return len(self) * self.cached_frames * rows * width * 2

    @torch.no_grad()
    def cache_stem(
        self,
        stem: Stem,
        *,
        progress: Progress | None = None,
        lenders: Iterable[ClipStore] = (),
        disk: ClipCache | None = None,
    ) -> None:
        """Compute the stem once for `cached_frames` frames a clip, kept in half precision: [clips, F, N+1, D].

        progress: told (clips done, clips).
        lenders: stores of an earlier training; where one holds the very same tokens, they are shared.
        disk: keeps the tokens there instead of in memory, and uses what an earlier run left of the same clips and stem.
        Raises `stem-cache-full`.
        """
        self._identity = self._identity_of(stem)
        for lender in lenders:
            if self._same_clips(lender) and lender._identity == self._identity and lender._tokens is not None:
                self._tokens = lender._tokens
                for clip, error in lender.broken.errors.items():
                    self.broken.add(clip, error)
                return
        clips = range(len(self))
        tokens = MemoryTokens(len(self)) if disk is None else DiskTokens(disk, [self._stem_key(i) for i in clips])
        missing = [i for i in clips if not tokens.has(i)]
        done = len(self) - len(missing)
        reads = ahead(lambda i: self._attempt(i, partial(self._to_cache, i)), missing, DECODING_THREADS)
        for i, pixels in zip(missing, reads, strict=True):
            if pixels is not None:
                parts = _fill(torch.from_numpy(pixels), self.cached_frames).split(BATCH_FRAMES)
                tokens.put(i, torch.cat([stem.encode(part) for part in parts]))
            done += 1
            if progress:
                progress(done, len(self))
        self._tokens = tokens

    def load(self, ids: Ids, rng: np.random.Generator | None = None) -> Tensor:
        """The clips `ids` of an episode, without `rng` their centre view, with it a random view of each.

        Cached: stem tokens [n, T, N+1, D] in half precision; else frames uint8 [n, T, H, W, 3]. In the place of a
        broken clip another of its class is loaded. Raises `data-broken` and `too-few-clips`.
        """
        if self._tokens is not None:
            return self._tokens.pick(self.broken.stand_in(ids), self._views(len(ids), rng))
        chosen = ids.copy()
        clips = []
        for place in range(len(ids)):
            for i in self.broken.candidates(ids, place):
                if i != ids[place] and i in chosen:
                    continue
                pixels = self._attempt(i, partial(self._view, i, rng), rng)
                if pixels is not None:
                    chosen[place] = i
                    clips.append(pixels)
                    break
        return torch.from_numpy(np.stack(clips))

    def load_each(self, ids: Ids, rng: np.random.Generator | None = None) -> Tensor:
        """The clips `ids` as `load` gives them, but black, or any other clip, where one is broken."""
        if self._tokens is not None:
            return self._tokens.pick(self._some(ids), self._views(len(ids), rng))
        read = [self._attempt(int(i), partial(self._view, int(i), rng), rng) for i in ids]
        size = self.reader.preprocess.size
        black = np.zeros((self.reader.frames, size, size, 3), np.uint8)
        return torch.from_numpy(np.stack([black if pixels is None else pixels for pixels in read]))

    def _some(self, ids: Ids) -> Ids:
        """`ids`, where a clip is broken any other that is not."""
        whole = next((i for i in range(len(self)) if i not in self.broken), 0)
        return np.array([whole if int(i) in self.broken else i for i in ids], dtype=np.int64)

    def _views(self, clips: int, rng: np.random.Generator | None) -> Ids:
        """Which of the cached frames make a view of each clip: [clips, T]."""
        frames = self.reader.frames
        if self.stem_views:  # the centre view lies first
            first = np.zeros(clips, np.int64) if rng is None else rng.integers(1, 1 + self.stem_views, clips)
            return first[:, None] * frames + np.arange(frames)
        return np.stack([segment_indices(self.cached_frames, frames, rng) for _ in range(clips)])

    def _to_cache(self, clip: int, path: Path) -> Pixels:
        """The frames whose stem is cached."""
        if not self.views:
            return self.reader.centre(path)
        if not self.stem_views:
            return self.reader.spread(path, self.cached_frames)
        # The same views in every run and of whatever other clips there are.
        rng = np.random.default_rng(list(f"{path.parent.name}/{path.name}".encode()))
        views = self.reader.several(path, self.stem_views, rng, self._mirror(clip))
        return np.concatenate([self.reader.centre(path), views])

    def _view(self, clip: int, rng: np.random.Generator | None, path: Path) -> Pixels:
        if rng is None:
            return self.reader.centre(path)
        return self.reader.random(path, rng, self._mirror(clip))

    def _mirror(self, clip: int) -> bool:
        return self.classes[self.labels[clip]].mirror

    def _attempt(
        self, clip: int, read: Callable[[Path], Pixels], rng: np.random.Generator | None = None
    ) -> Pixels | None:
        """What `read` makes of a clip; None where it is broken, which may be one too many: see `BrokenClips.add`."""
        if clip in self.broken:
            return None
        before = {} if rng is None else rng.bit_generator.state
        try:
            return read(self.paths[clip])
        except MaclipError as error:
            self.broken.add(clip, error)
        if rng is not None:
            rng.bit_generator.state = before  # whether a clip was known to be broken must change no number after it
        return None

    def _same_clips(self, other: ClipStore) -> bool:
        """Whether `other` holds the same frames of the same clips."""
        mirrored = [c.mirror for c in self.classes] == [c.mirror for c in other.classes]
        return self.paths == other.paths and (mirrored or not self.stem_views)

    def _identity_of(self, stem: Stem) -> tuple[object, ...]:
        """All that a clip's cached tokens depend on beside the clip."""
        random = (self.stem_views, self.reader.view_frames) if self.stem_views else ()
        return (*stem.identity, self.reader.frames, self.cached_frames, *random)

    def _stem_key(self, clip: int) -> str | None:
        mirror = (self._mirror(clip),) if self.stem_views else ()
        version = decoder_version(self.reader.decoder)
        return clip_key(self.paths[clip], "stem", *self._identity, *mirror, version)


def _fill(pixels: Tensor, count: int) -> Tensor:
    """Repeat frames of a short clip evenly up to `count`: [F, H, W, 3] -> [count, H, W, 3]."""
    if len(pixels) == count:
        return pixels
    return pixels[torch.from_numpy(segment_indices(len(pixels), count))]
