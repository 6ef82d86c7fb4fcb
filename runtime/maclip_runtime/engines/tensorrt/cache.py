"""Engines that were built, in the user's cache: one file each, put in place at once and checked when it is read.

A file is a line of JSON (what the engine is, its size and sha256) and then the engine. Whatever does not agree with
its own line is as good as not there.
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

from maclip_runtime.engines.tensorrt.profile import has_room
from maclip_runtime.errors import MaclipError

CACHE_VARIABLE = "MACLIP_CACHE"
SUFFIX = ".engine"
BLOCK_BYTES = 1 << 20
LONGEST_HEADER = 1 << 16  # bytes


@dataclass(frozen=True)
class EngineKey:
    """What an engine depends on. `compute_capability` is like "8.6", or "portable"; `profile` as text."""

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


def default_cache() -> Path:
    """MACLIP_CACHE, else maclip's folder in XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "maclip"


class EngineCache:
    """The engines under `root`/engines. Any number of processes may use it at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.folder = (root or default_cache()) / "engines"

    def path(self, key: EngineKey) -> Path:
        """Where the engine of `key` is or would be."""
        return self.folder / key.file

    def size(self, key: EngineKey) -> int | None:
        """The bytes of the engine of exactly this key, or None where there is none or it is damaged."""
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
        """An engine like `key` but of any profile that has room for `sizes`; the newest first."""
        for file, found in self._entries(key.graph):
            alike = dataclasses.replace(found, profile=key.profile) == key
            if alike and has_room(found.profile, sizes) and (engine := _read(file, found)) is not None:
                return engine
        return None

    def put(self, key: EngineKey, engine: memoryview | bytes) -> None:
        """Keep an engine. Raises `cache-unwritable`; a file of the final name is always whole."""
        header = _header_of(key, len(engine), hashlib.sha256(engine).hexdigest())
        unfinished: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=".", suffix=".part", dir=self.folder, delete=False) as file:
                unfinished = Path(file.name)
                file.write(json.dumps(header).encode() + b"\n")
                file.write(engine)
                file.flush()
                os.fsync(file.fileno())
            unfinished.chmod(0o644)  # a device may run as another user
            os.replace(unfinished, self.path(key))
        except OSError as error:
            raise MaclipError(
                "cache-unwritable",
                f"The engine cannot be kept in {self.folder} ({error.strerror or error}).",
                f"Free some space, or name another folder: --cache DIR or {CACHE_VARIABLE}=DIR.",
            ) from error
        finally:
            if unfinished is not None:
                unfinished.unlink(missing_ok=True)

    def _entries(self, graph: str) -> Iterator[tuple[Path, EngineKey]]:
        dated = []
        for file in self.folder.glob(f"{graph}-*{SUFFIX}"):
            try:
                dated.append((file.stat().st_mtime_ns, file))
            except OSError:
                continue  # another process has just replaced it
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
    header = json.loads(opened.readline(LONGEST_HEADER))
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header


def _header_of(key: EngineKey, size: int, sha256: str) -> dict[str, Any]:
    return {"key": dataclasses.asdict(key), "size": size, "sha256": sha256}
