"""Stem tokens computed once, [clips, F, N+1, D] in half precision: in memory, or one file a clip on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from maclip.data.disk_cache import SPARED_BYTES, ClipCache
from maclip.data.episodes import Ids
from maclip_runtime.errors import MaclipError


@dataclass(frozen=True)
class Stem:
    """What computes stem tokens, as a store of clips needs to know it.

    encode: frames uint8 [F, H, W, 3] -> tokens [F, N+1, D].
    identity: all that the tokens depend on beside the frames.
    shape: (N+1, D).
    """

    encode: Callable[[Tensor], Tensor]
    identity: tuple[object, ...]
    shape: tuple[int, int]


def stem_place(mode: str, needed: int, in_memory: int, folder: Path, asked: bool) -> str:
    """Where `needed` bytes of stem tokens go: "memory", "disk" or "none", as `mode` says (auto, stem, disk or none).

    "auto": on disk where `folder` was `asked` for; else in memory up to `in_memory` bytes, beyond that on a disk that
    has room, or that an interrupted run has begun to use.
    """
    if mode != "auto":
        return "memory" if mode == "stem" else mode
    if asked:
        return "disk"
    if needed <= in_memory:
        return "memory"
    above = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    return "disk" if above == folder or shutil.disk_usage(above).free > needed + SPARED_BYTES else "none"


class StemTokens(Protocol):
    """Where stem tokens are kept. Of a clip that was never put there is nothing to pick."""

    def has(self, clip: int) -> bool:
        """Whether the tokens of `clip` are there already, from an earlier run."""

    def put(self, clip: int, tokens: Tensor) -> None:
        """Keep the tokens [2T, N+1, D] of `clip`."""

    def pick(self, clips: Ids, views: Ids) -> Tensor:
        """Of each of `clips` [n] the frames `views` [n, T]: [n, T, N+1, D] in half precision."""


class MemoryTokens:
    """Tokens on the model's device."""

    def __init__(self, clips: int) -> None:
        self._clips = clips
        self._tokens: Tensor | None = None

    def has(self, clip: int) -> bool:
        """Never: memory begins empty."""
        return False

    def put(self, clip: int, tokens: Tensor) -> None:
        """Keep the tokens of `clip`."""
        if self._tokens is None:
            self._tokens = torch.zeros(self._clips, *tokens.shape, dtype=torch.half, device=tokens.device)
        self._tokens[clip] = tokens.half()

    def pick(self, clips: Ids, views: Ids) -> Tensor:
        """Of each of `clips` the frames `views`."""
        assert self._tokens is not None
        return self._tokens[torch.from_numpy(clips)[:, None], torch.from_numpy(views)]


class DiskTokens:
    """Tokens in `cache`, a file for each clip under `keys`, of which only the frames of a view are read."""

    def __init__(self, cache: ClipCache, keys: Sequence[str | None]) -> None:
        self._cache, self._keys = cache, keys

    def has(self, clip: int) -> bool:
        """Whether this or an earlier run left the very same tokens."""
        key = self._keys[clip]
        return key is not None and self._cache.has(key)

    def put(self, clip: int, tokens: Tensor) -> None:
        """Keep the tokens of `clip`. Raises `stem-cache-full`."""
        key = self._keys[clip]
        if key is None or not self._cache.put(key, tokens.half().cpu().numpy()):
            raise MaclipError(
                "stem-cache-full",
                f"The stem's output cannot be kept in {self._cache.folder}.",
                "Free the disk, give another folder by --stem-cache, or --cache none. What is in it already is kept.",
            )

    def pick(self, clips: Ids, views: Ids) -> Tensor:
        """Of each of `clips` the frames `views`. Raises `stem-cache-lost`."""
        picked = [self._read(int(clip), view) for clip, view in zip(clips, views, strict=True)]
        return torch.from_numpy(np.stack(picked))

    def _read(self, clip: int, view: Ids) -> np.ndarray:
        key = self._keys[clip]
        rows = None if key is None else self._cache.get(key, lambda total: view)
        if rows is None:
            raise MaclipError(
                "stem-cache-lost",
                f"The stem's output of a clip is no longer in {self._cache.folder}.",
                "Leave the folder alone while a training uses it, and go on: maclip train --resume RUN.",
            )
        return rows
