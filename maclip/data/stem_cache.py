"""Cached stem tokens, half precision [clips, F, N+1, D]: in memory, or on disk with one file for each clip."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from maclip.data.disk_cache import MIN_FREE_BYTES, ClipCache
from maclip.data.episodes import Ids
from maclip_runtime.errors import MaclipError


@dataclass(frozen=True)
class Stem:
    """The frozen stem of a model, as `ClipStore.cache_stem` uses it.

    encode: frames uint8 [F, H, W, 3] -> tokens [F, N+1, D].
    identity: everything that the tokens depend on, except the frames.
    shape: (N+1, D).
    device: where the tokens are computed, "cpu" or "cuda".
    """

    encode: Callable[[Tensor], Tensor]
    identity: tuple[object, ...]
    shape: tuple[int, int]
    device: str = "cpu"


def stem_cache_place(mode: str, size: int, max_memory: int, folder: Path, folder_given: bool) -> str:
    """Where stem tokens are cached: "memory", "disk" or "none".

    mode: "auto", "stem" (memory), "disk" or "none".
    size: bytes that the tokens need.
    max_memory: "auto" caches in memory up to this many bytes, above that on disk if there is space or if an interrupted
        run has begun to use it.
    folder: of the cache on disk.
    folder_given: whether the user chose `folder`; "auto" then uses the disk.
    """
    if mode != "auto":
        return "memory" if mode == "stem" else mode
    if folder_given:
        return "disk"
    if size <= max_memory:
        return "memory"
    above = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    return "disk" if above == folder or shutil.disk_usage(above).free > size + MIN_FREE_BYTES else "none"


class StemTokens(Protocol):
    """A cache of stem tokens. `pick` needs clips that were `put`."""

    def has(self, clip: int) -> bool:
        """Whether the tokens of `clip` are cached already, by an earlier run."""

    def put(self, clip: int, tokens: Tensor) -> None:
        """Cache the tokens [F, N+1, D] of `clip`."""

    def pick(self, clips: Ids, views: Ids) -> Tensor:
        """The frames `views` [n, T] of `clips` [n]: half precision [n, T, N+1, D]."""


class MemoryTokens:
    """Tokens in memory, on the model's device, or in `shared` [clips, F, N+1, D] of several processes."""

    def __init__(self, clips: int, shared: Tensor | None = None) -> None:
        self._clips = clips
        self._tokens = shared

    def has(self, clip: int) -> bool:
        """Always False: memory is empty at the start."""
        return False

    def put(self, clip: int, tokens: Tensor) -> None:
        """Cache the tokens of `clip`."""
        if self._tokens is None:
            self._tokens = torch.zeros(self._clips, *tokens.shape, dtype=torch.half, device=tokens.device)
        self._tokens[clip] = tokens.half()

    def pick(self, clips: Ids, views: Ids) -> Tensor:
        """The frames `views` of `clips`."""
        assert self._tokens is not None
        return self._tokens[torch.from_numpy(clips)[:, None], torch.from_numpy(views)]


class DiskTokens:
    """Tokens on disk, in `cache` under the `keys` of the clips. Only the frames of a view are read."""

    def __init__(self, cache: ClipCache, keys: Sequence[str | None]) -> None:
        self._cache, self._keys = cache, keys

    def has(self, clip: int) -> bool:
        """Whether this or an earlier run cached the same tokens."""
        key = self._keys[clip]
        return key is not None and self._cache.has(key)

    def put(self, clip: int, tokens: Tensor) -> None:
        """Cache the tokens of `clip`. Raises `stem-cache-full`."""
        key = self._keys[clip]
        if key is None or not self._cache.put(key, tokens.half().cpu().numpy()):
            raise MaclipError(
                "stem-cache-full",
                f"Stem tokens cannot be written to {self._cache.folder}.",
                "Free disk space, or use another --stem-cache, or --cache none. Tokens already written are kept.",
            )

    def pick(self, clips: Ids, views: Ids) -> Tensor:
        """The frames `views` of `clips`. Raises `stem-cache-lost`."""
        picked = [self._read(int(clip), view) for clip, view in zip(clips, views, strict=True)]
        return torch.from_numpy(np.stack(picked))

    def _read(self, clip: int, view: Ids) -> np.ndarray:
        key = self._keys[clip]
        rows = None if key is None else self._cache.get(key, lambda total: view)
        if rows is None:
            raise MaclipError(
                "stem-cache-lost",
                f"The stem tokens of a clip are no longer in {self._cache.folder}.",
                "Do not change the folder while a training uses it. Resume with: maclip train --resume RUN.",
            )
        return rows
