"""The clips of some classes: pixels read on demand, or stem tokens computed once.

The stem is frozen and processes single frames. Its output is computed once for some frames of each clip; every later
view selects among them (docs/method.md, section 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maclip.data.broken_clips import BrokenClips
from maclip.data.clip_reader import ClipReader
from maclip.data.dataset import ActionClass
from maclip.data.decoding import decoder_version
from maclip.data.disk_cache import ClipCache, clip_key
from maclip.data.episodes import Ids
from maclip.data.prefetch import prefetch
from maclip.data.shared_memory import Room, require_memory
from maclip.data.stem_cache import DiskTokens, MemoryTokens, Stem, StemTokens
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels, segment_indices

CACHED_FRAMES_PER_SEGMENT = 2
BATCH_FRAMES = 64
DECODING_THREADS = 4

Progress = Callable[[int, int], None]


class ClipStore:
    """The clips of some classes. Clip ids count them class by class, as in `Episode`.

    classes: classes with their clips.
    reader: reads the clips.
    max_broken: largest share of unreadable clips, 0..1; default 0: the first one raises.
    views: whether random views will be loaded; default True. If not, the stem cache holds centre views only.
    workers: threads that decode clips; default 4.
    stem_views: random views of a clip, each with its own crop, in the stem cache beside the centre view; default 0: the
        cache holds centre crops of 2T frames, and random views select among these frames.
    """

    def __init__(
        self,
        classes: Sequence[ActionClass],
        reader: ClipReader,
        *,
        max_broken: float = 0.0,
        views: bool = True,
        stem_views: int = 0,
        workers: int = DECODING_THREADS,
    ) -> None:
        self.classes = tuple(classes)
        self.paths = [path for c in classes for path in c.clips]
        self.labels: Ids = np.repeat(np.arange(len(classes)), [len(c.clips) for c in classes])
        self.reader = reader
        self.broken = BrokenClips(self.classes, max_broken)
        self.workers = workers
        self.views, self.stem_views = views, stem_views if views else 0
        self._tokens: StemTokens | None = None
        self._identity: tuple[object, ...] = ()  # of the cached tokens

    def __len__(self) -> int:
        return len(self.paths)

    def __reduce__(self) -> tuple[Callable[..., ClipStore], tuple[object, ...]]:
        """A process that it is sent to reads the clips itself, and meets broken ones anew."""
        if self.is_cached:
            raise TypeError("a store with cached tokens stays where it is")
        # Another process may be in another folder.
        classes = [replace(c, clips=tuple(path.absolute() for path in c.clips)) for c in self.classes]
        return _elsewhere, (classes, self.reader, self.broken.share, self.views, self.stem_views, self.workers)

    @property
    def sizes(self) -> list[int]:
        """Clips a class."""
        return [len(c.clips) for c in self.classes]

    @property
    def is_cached(self) -> bool:
        """Whether `load` returns stem tokens."""
        return self._tokens is not None

    @property
    def cached_frames(self) -> int:
        """F, frames of a clip in the stem cache: 2T, or (1 + `stem_views`) T, or T without random views."""
        if self.stem_views:
            return self.reader.frames * (1 + self.stem_views)
        return self.reader.frames * (CACHED_FRAMES_PER_SEGMENT if self.views else 1)

    def readable(self) -> npt.NDArray[np.bool_]:
        """Whether each clip is not known to be broken: bool [clips]."""
        return np.array([i not in self.broken for i in range(len(self))])

    def recheck(self, paths: Iterable[str]) -> None:
        """Read the clips at `paths` completely, which were broken before a resume; record those that still are."""
        wanted = set(paths)
        for i, path in enumerate(self.paths):
            if str(path) in wanted:
                self._attempt(i, lambda path: self.reader.read(path, np.arange).frames)

    def cache_bytes(self, stem: Stem) -> int:
        """Memory that `cache_stem` would need, in bytes."""
        rows, width = stem.shape
        return len(self) * self.cached_frames * rows * width * 2

    @torch.no_grad()
    def cache_stem(
        self,
        stem: Stem,
        *,
        progress: Progress | None = None,
        reuse: Iterable[ClipStore] = (),
        disk: ClipCache | None = None,
        room: Room | None = None,
    ) -> None:
        """Compute stem tokens of `cached_frames` frames of each clip and cache them: half precision [clips, F, N+1, D].

        stem: computes tokens.
        progress: called with (clips done, clips).
        reuse: stores of earlier trainings; identical tokens in one of them are shared, not computed.
        disk: cache tokens here instead of in memory; tokens of the same clips and stem in it are used.
        room: shares the work with other processes, each of which computes a part, and the memory if it is one. The
            tokens are whole when all are done.
        Raises `stem-cache-full` and `memory-short`.
        """
        self._identity = self._identity_of(stem)
        for other in reuse:
            if self._same_clips(other) and other._identity == self._identity and other._tokens is not None:
                self._tokens = other._tokens
                for clip, error in other.broken.errors.items():
                    self.broken.add(clip, error)
                return
        clips = range(len(self))
        tokens: StemTokens
        if disk is not None:
            tokens = DiskTokens(disk, [self._stem_key(i) for i in clips])
        elif room is not None and room.in_memory:
            shape = (len(self), self.cached_frames, *stem.shape)
            tokens = MemoryTokens(len(self), room.tensor("stem", shape, torch.half))
        else:
            room = None
            if stem.device == "cpu":
                require_memory(self.cache_bytes(stem))
            tokens = MemoryTokens(len(self))
        missing = [i for i in clips if not tokens.has(i) and (room is None or room.owns(i))]
        done = len(self) - len(missing)
        reads = prefetch(lambda i: self._attempt(i, partial(self._to_cache, i)), missing, self.workers)
        for i, pixels in zip(missing, reads, strict=True):
            if pixels is not None:
                parts = _fill(torch.from_numpy(pixels), self.cached_frames).split(BATCH_FRAMES)
                tokens.put(i, torch.cat([stem.encode(part) for part in parts]))
            done += 1
            if progress:
                progress(done, len(self))
        self._tokens = tokens

    def load(self, ids: Ids, rng: np.random.Generator | None = None) -> Tensor:
        """The clips `ids` of an episode: stem tokens, half precision [n, T, N+1, D], or frames uint8 [n, T, H, W, 3].

        rng: draws a random view of each clip; default None: the centre view.
        A broken clip is replaced by another one of its class. Raises `data-broken` and `too-few-clips`.
        """
        if self._tokens is not None:
            return self._tokens.pick(self.broken.replace_broken(ids), self._views(len(ids), rng))
        chosen = ids.copy()
        clips = []
        for place in range(len(ids)):
            for i in self.broken.with_fallbacks(ids, place):
                if i != ids[place] and i in chosen:
                    continue
                pixels = self._attempt(i, partial(self._view, i, rng), rng)
                if pixels is not None:
                    chosen[place] = i
                    clips.append(pixels)
                    break
        return torch.from_numpy(np.stack(clips))

    @property
    def row_frames(self) -> int:
        """Evenly spaced frames of a clip that `load_rows` can read: of its centre crop."""
        return self.reader.frames if self.stem_views else self.cached_frames

    def load_rows(self, rows: Ids) -> Tensor:
        """Single frames [n, T] of clips as `load` returns them; row `clip * row_frames + frame` is one of a clip."""
        clips, frames = np.divmod(rows, self.row_frames)
        if self._tokens is not None:
            return torch.stack([self._pick_rows(*one) for one in zip(clips, frames, strict=True)])
        return torch.from_numpy(np.stack([self._read_rows(*one) for one in zip(clips, frames, strict=True)]))

    def load_each(self, ids: Ids, rng: np.random.Generator | None = None) -> Tensor:
        """The clips `ids` as `load` returns them, but a broken clip becomes black frames or an arbitrary clip."""
        if self._tokens is not None:
            return self._tokens.pick(self._readable_ids(ids), self._views(len(ids), rng))
        read = [self._attempt(int(i), partial(self._view, int(i), rng), rng) for i in ids]
        size = self.reader.preprocess.size
        black = np.zeros((self.reader.frames, size, size, 3), np.uint8)
        return torch.from_numpy(np.stack([black if pixels is None else pixels for pixels in read]))

    def _pick_rows(self, clips: Ids, frames: Ids) -> Tensor:
        """Tokens of the frames [T] of the clips [T]: [T, N+1, D]."""
        assert self._tokens is not None
        parts = []
        for clip in dict.fromkeys(clips.tolist()):  # the clips of a window follow one another
            parts.append(self._tokens.pick(np.array([clip]), frames[None, clips == clip])[0])
        return torch.cat(parts)

    def _read_rows(self, clips: Ids, frames: Ids) -> Pixels:
        """Pixels of the frames [T] of the clips [T]: uint8 [T, size, size, 3]."""
        parts = []
        for clip in dict.fromkeys(clips.tolist()):
            pixels = self.reader.spread(self.paths[clip], self.row_frames)
            parts.append(pixels[segment_indices(len(pixels), self.row_frames)[frames[clips == clip]]])
        return np.concatenate(parts)

    def _readable_ids(self, ids: Ids) -> Ids:
        """`ids` with broken clips replaced by an arbitrary readable clip."""
        readable = next((i for i in range(len(self)) if i not in self.broken), 0)
        return np.array([readable if int(i) in self.broken else i for i in ids], dtype=np.int64)

    def _views(self, clips: int, rng: np.random.Generator | None) -> Ids:
        """Indices of the cached frames that make up a view of each clip: [clips, T]."""
        frames = self.reader.frames
        if self.stem_views:  # the centre view comes first
            first = np.zeros(clips, np.int64) if rng is None else rng.integers(1, 1 + self.stem_views, clips)
            return first[:, None] * frames + np.arange(frames)
        return np.stack([segment_indices(self.cached_frames, frames, rng) for _ in range(clips)])

    def _to_cache(self, clip: int, path: Path) -> Pixels:
        """The frames whose stem tokens are cached."""
        if not self.views:
            return self.reader.centre(path)
        if not self.stem_views:
            return self.reader.spread(path, self.cached_frames)
        # Seeded by the path: the same views in every run, whatever other clips there are.
        rng = np.random.default_rng(list(f"{path.parent.name}/{path.name}".encode()))
        views = self.reader.random_views(path, self.stem_views, rng, self._mirror(clip))
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
        """The result of `read` for a clip; None if the clip is broken. Raises what `BrokenClips.add` raises."""
        if clip in self.broken:
            return None
        before = {} if rng is None else rng.bit_generator.state
        try:
            return read(self.paths[clip])
        except MaclipError as error:
            self.broken.add(clip, error)
        if rng is not None:
            rng.bit_generator.state = before  # later draws must not depend on when a clip was found broken
        return None

    def _same_clips(self, other: ClipStore) -> bool:
        """Whether `other` holds the same frames of the same clips."""
        mirrored = [c.mirror for c in self.classes] == [c.mirror for c in other.classes]
        return self.paths == other.paths and (mirrored or not self.stem_views)

    def _identity_of(self, stem: Stem) -> tuple[object, ...]:
        """Everything that the cached tokens of a clip depend on, except the clip."""
        random = (self.stem_views, self.reader.view_frames) if self.stem_views else ()
        return (*stem.identity, self.reader.frames, self.cached_frames, *random)

    def _stem_key(self, clip: int) -> str | None:
        mirror = (self._mirror(clip),) if self.stem_views else ()
        version = decoder_version(self.reader.decoder)
        return clip_key(self.paths[clip], "stem", *self._identity, *mirror, version)


def _elsewhere(
    classes: Sequence[ActionClass], reader: ClipReader, max_broken: float, views: bool, stem_views: int, workers: int
) -> ClipStore:
    return ClipStore(
        classes, reader, max_broken=max_broken, views=views, stem_views=stem_views, workers=workers
    )  # fmt: skip


def _fill(pixels: Tensor, count: int) -> Tensor:
    """Repeat frames of a short clip evenly up to `count`: [F, H, W, 3] -> [count, H, W, 3]."""
    if len(pixels) == count:
        return pixels
    return pixels[torch.from_numpy(segment_indices(len(pixels), count))]
