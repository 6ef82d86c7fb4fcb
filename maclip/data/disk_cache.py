"""A folder of arrays, one file for each clip: decoded frames, or stem tokens, that need not be computed again.

A file is safetensors, so it is mapped into memory and only the rows that are asked for are read. It appears whole or
not at all, and says which clip it is of; whatever is torn, foreign or of an older version of the clip is never used.
Several processes may share a folder, and it may be deleted whenever none uses it.
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
SPARED_BYTES = 1 << 30  # left free on the disk: a checkpoint must still fit


class ClipCache:
    """Arrays by key under `folder`. A disk that is full, or read-only, is said once by `note`, and nothing is kept."""

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self.note = note
        self.writable = True

    def get(self, key: str, pick: Pick | None = None, least: int = 0) -> Rows | None:
        """The rows that `pick` names, given how many there are, or all: [n, ...]; None where `key` is not kept.

        Where fewer than `least` are kept there is no answer either. `pick` is called only where there is one.
        """
        try:
            with safe_open(self._path(key), "np") as file:
                if (file.metadata() or {}).get(KEY) != key:
                    return None
                rows = file.get_slice(ROWS)
                if rows.get_shape()[0] < least:
                    return None
                if pick is None:
                    return np.asarray(file.get_tensor(ROWS))
                return np.concatenate([rows[i : i + 1] for i in pick(rows.get_shape()[0]).tolist()])
        except (OSError, SafetensorError):
            return None

    def has(self, key: str) -> bool:
        """Whether `get` would answer."""
        return self.get(key, lambda total: np.zeros(1, np.int64)) is not None

    def put(self, key: str, rows: Rows) -> bool:
        """Keep `rows` [n, ...] under `key`; whether that went well."""
        if not self.writable:
            return False
        try:
            self._write(self._path(key), save({ROWS: np.ascontiguousarray(rows)}, {KEY: key}))
        except OSError as error:
            self.writable = False
            self.note(f"{self.folder} takes no more ({error.strerror}): what is not in it yet is not cached")
            return False
        return True

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < len(data) + SPARED_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        descriptor, temporary = tempfile.mkstemp(".tmp", path.stem, path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, 0o644)  # the next user's too
                os.fsync(descriptor)  # or a power cut might leave the name without the content
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}{SUFFIX}"


def clip_key(path: Path, *of: object) -> str | None:
    """A key for what is made of the clip at `path`, `of` what makes it so; None where the clip cannot be looked at.

    It names the path, the size and the time of the last change; of a folder, those of each file in it.
    """
    try:
        place = path.resolve()
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        state = [[file.name, (about := file.stat()).st_size, about.st_mtime_ns] for file in files]
    except OSError:
        return None
    return json.dumps([str(place), state, *map(str, of)])
