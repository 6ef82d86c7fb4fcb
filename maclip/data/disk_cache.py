"""A cache on disk: one file of rows (decoded frames or stem tokens) for each clip.

Files are safetensors: memory-mapped, so only the requested rows are read. A file is written atomically and holds its
key; truncated files, other files and files of an older version of the clip are ignored. Several processes may share a
folder. It may be deleted when no process uses it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from maclip_runtime.reading.frames import Indices

Rows = npt.NDArray[Any]
Pick = Callable[[int], Indices]

SUFFIX = ".safetensors"
ROWS, KEY = "rows", "key"
MIN_FREE_BYTES = 1 << 30  # kept free on the disk for checkpoints


class ClipCache:
    """Arrays by key in files under `folder`.

    note: called once with a message if the disk is full or read-only; nothing is cached from then on.
    """

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self.note = note
        self.writable = True

    def __reduce__(self) -> tuple[type[ClipCache], tuple[Path]]:
        """Another process uses the same folder, and keeps to itself what it notes."""
        return ClipCache, (self.folder.resolve(),)

    def get(self, key: str, pick: Pick | None = None, min_rows: int = 0) -> Rows | None:
        """Rows of `key`: [n, ...]; None if it is not cached.

        pick: returns the indices of the rows, given their number; default None: all rows. Not called on a miss.
        min_rows: an entry with fewer rows counts as a miss.
        """
        try:
            with safe_open(self._path(key), "np") as file:
                if (file.metadata() or {}).get(KEY) != key:
                    return None
                rows = file.get_slice(ROWS)
                if rows.get_shape()[0] < min_rows:
                    return None
                if pick is None:
                    return np.asarray(file.get_tensor(ROWS))
                return np.concatenate([rows[i : i + 1] for i in pick(rows.get_shape()[0]).tolist()])
        except (OSError, SafetensorError):
            return None

    def has(self, key: str) -> bool:
        """Whether `key` is cached."""
        return self.get(key, lambda total: np.zeros(1, np.int64)) is not None

    def put(self, key: str, rows: Rows) -> bool:
        """Cache `rows` [n, ...] under `key`; returns whether they were written."""
        if not self.writable:
            return False
        try:
            self._write(self._path(key), save({ROWS: np.ascontiguousarray(rows)}, {KEY: key}))
        except OSError as error:
            self.writable = False
            self.note(f"{self.folder} cannot be written ({error.strerror}): no more clips are cached")
            return False
        return True

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < len(data) + MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        descriptor, temporary = tempfile.mkstemp(".tmp", path.stem, path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, 0o644)  # readable for other users
                os.fsync(descriptor)  # else a power cut may leave an empty file
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}{SUFFIX}"


def clip_key(path: Path, *of: object) -> str | None:
    """A cache key for data computed from the clip at `path` and the parameters `of`; None if the clip is inaccessible.

    It holds the path, and size and modification time of the file, or of each file in the folder.
    """
    try:
        place = path.resolve()
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        state = [[file.name, (about := file.stat()).st_size, about.st_mtime_ns] for file in files]
    except OSError:
        return None
    return json.dumps([str(place), state, *map(str, of)])
