"""Built engines in the user's cache: one file each, written atomically and checked when it is read.

A file is a line of JSON (the engine's key, size and sha256), then the engine. A file that does not match its header is
ignored.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from maclip_runtime.engines.cache import CACHE_VARIABLE, default_cache
from maclip_runtime.engines.tensorrt.profile import covers
from maclip_runtime.errors import MaclipError

SUFFIX = ".engine"
BLOCK_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on. `compute_capability` is like "8.6", or "portable"; `profile` is text."""

    graph: str
    graph_digest: str
    library: str
    library_version: str
    compute_capability: str
    precision: str
    profile: str

    @property
    def file(self) -> str:
        """The engine's file name in a cache."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.graph}-{digest[:32]}{SUFFIX}"


class EngineCache:
    """The engines in `root`/engines; safe to use from several processes at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.folder = (root or default_cache()) / "engines"

    def path(self, key: EngineKey) -> Path:
        """The file of the engine of `key`, which may not exist."""
        return self.folder / key.file

    def size(self, key: EngineKey) -> int | None:
        """The size in bytes of the engine of exactly this key; None where it is missing or damaged."""
        try:
            with self.path(key).open("rb") as file:
                header, digest, size = _header(file), hashlib.sha256(), 0
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    size += len(block)
        except (OSError, ValueError):
            return None
        return size if header == _header_of(key, size, digest.hexdigest()) else None

    def find(self, key: EngineKey, sizes: dict[str, int]) -> bytes | None:
        """The newest engine that matches `key` with any profile that covers `sizes`; None where there is none."""
        for file, found in self._entries(key.graph):
            matches = dataclasses.replace(found, profile=key.profile) == key
            if matches and covers(found.profile, sizes) and (engine := _read(file, found)) is not None:
                return engine
        return None

    def put(self, key: EngineKey, engine: memoryview | bytes) -> None:
        """Store an engine atomically. Raises `cache-unwritable`."""
        header = _header_of(key, len(engine), hashlib.sha256(engine).hexdigest())
        part: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=".", suffix=".part", dir=self.folder, delete=False) as file:
                part = Path(file.name)
                file.write(json.dumps(header).encode() + b"\n")
                file.write(engine)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o644)  # the device may run as another user
            os.replace(part, self.path(key))
        except OSError as error:
            raise MaclipError(
                "cache-unwritable",
                f"The engine cannot be stored in {self.folder} ({error.strerror or error}).",
                f"Free some space, or use another folder: --cache DIR or {CACHE_VARIABLE}=DIR.",
            ) from error
        finally:
            if part is not None:
                part.unlink(missing_ok=True)

    def _entries(self, graph: str) -> Iterator[tuple[Path, EngineKey]]:
        dated = []
        for file in self.folder.glob(f"{graph}-*{SUFFIX}"):
            try:
                dated.append((file.stat().st_mtime_ns, file))
            except OSError:
                continue  # removed meanwhile by another process
        for _, file in sorted(dated, reverse=True):
            try:
                with file.open("rb") as opened:
                    yield file, EngineKey(**_header(opened)["key"])
            except (OSError, ValueError, KeyError, TypeError):
                continue


def _read(file: Path, key: EngineKey) -> bytes | None:
    try:
        with file.open("rb") as opened:
            header = _header(opened)
            engine = opened.read()
    except (OSError, ValueError):
        return None
    return engine if header == _header_of(key, len(engine), hashlib.sha256(engine).hexdigest()) else None


def _header(opened: BinaryIO) -> dict[str, Any]:
    header = json.loads(opened.readline(MAX_HEADER_BYTES))
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header


def _header_of(key: EngineKey, size: int, sha256: str) -> dict[str, Any]:
    return {"key": dataclasses.asdict(key), "size": size, "sha256": sha256}
