"""The user's cache: built engines, compiled models and measured choices. All of it is safe to delete.

An entry is a line of JSON (its key, size and sha256), then its content. It is written in one step, so that several
processes may write it at once, and checked when it is read: one that does not match its header is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from maclip_runtime.errors import MaclipError

MAX_HEADER_BYTES = 1 << 16
CACHE_VARIABLE = "MACLIP_CACHE"
NO_HOME = Path("/nonexistent")


def default_cache() -> Path:
    """The folder MACLIP_CACHE, else `maclip` in XDG_CACHE_HOME or ~/.cache.

    Without a home it is in a folder that does not exist: nothing is kept, and an engine of another user's is never run.
    """
    if cache := os.environ.get(CACHE_VARIABLE):
        return Path(cache)
    parent = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(parent) if parent else Path.home() / ".cache") / "maclip"
    except RuntimeError:  # a container's user without an entry and without HOME
        return NO_HOME / ".cache" / "maclip"


def write_entry(file: Path, key: dict[str, Any], content: memoryview | bytes) -> None:
    """Store an entry atomically. Raises `cache-unwritable`."""
    header = entry_header(key, len(content), hashlib.sha256(content).hexdigest())
    try:
        write_atomically(file, [json.dumps(header).encode() + b"\n", content])
    except OSError as error:
        raise MaclipError(
            "cache-unwritable",
            f"{file.parent} cannot be written ({error.strerror or error}).",
            f"Free some space, or use another folder: --cache DIR or {CACHE_VARIABLE}=DIR.",
        ) from error


def write_atomically(file: Path, parts: Iterable[memoryview | bytes]) -> None:
    """Write a file and its folder; the file is whole or as it was. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".", suffix=".part", dir=file.parent, delete=False) as opened:
        part = Path(opened.name)
        try:
            for content in parts:
                opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
            part.chmod(0o644)  # the device may run as another user
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)


def read_entry(file: Path, key: dict[str, Any]) -> bytes | None:
    """The content of the entry of exactly this key; None where it is missing or damaged."""
    try:
        with file.open("rb") as opened:
            header = read_header(opened)
            content = opened.read()
    except (OSError, ValueError):
        return None
    return content if header == entry_header(key, len(content), hashlib.sha256(content).hexdigest()) else None


def read_header(opened: BinaryIO) -> dict[str, Any]:
    """The first line of an entry. Raises ValueError where it is no header."""
    header = json.loads(opened.readline(MAX_HEADER_BYTES))
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header


def entry_header(key: dict[str, Any], size: int, sha256: str) -> dict[str, Any]:
    """The header of an entry with that content."""
    return {"key": key, "size": size, "sha256": sha256}


def key_digest(key: dict[str, Any]) -> str:
    """A key as part of a file's name."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
