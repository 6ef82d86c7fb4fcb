"""Built engines in the user's cache, an entry each."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.engines.cache import (
    default_cache,
    entry_header,
    key_digest,
    read_entry,
    read_header,
    write_entry,
)
from maclip_runtime.engines.tensorrt.profile import covers

SUFFIX = ".engine"
BLOCK_BYTES = 1 << 20


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
        return f"{self.graph}-{key_digest(dataclasses.asdict(self))}{SUFFIX}"


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
                header, digest, size = read_header(file), hashlib.sha256(), 0
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    size += len(block)
        except (OSError, ValueError):
            return None
        return size if header == entry_header(dataclasses.asdict(key), size, digest.hexdigest()) else None

    def find(self, key: EngineKey, sizes: dict[str, int]) -> bytes | None:
        """The newest engine that matches `key` with any profile that covers `sizes`; None where there is none."""
        for file, found in self._entries(key.graph):
            matches = dataclasses.replace(found, profile=key.profile) == key
            if matches and covers(found.profile, sizes):
                engine = read_entry(file, dataclasses.asdict(found))
                if engine is not None:
                    return engine
        return None

    def put(self, key: EngineKey, engine: memoryview | bytes) -> None:
        """Store an engine atomically. Raises `cache-unwritable`."""
        write_entry(self.path(key), dataclasses.asdict(key), engine)

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
                    yield file, EngineKey(**read_header(opened)["key"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
