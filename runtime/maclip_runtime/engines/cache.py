"""The user's cache: built engines, compiled models and measured choices. All of it is safe to delete."""

from __future__ import annotations

import os
from pathlib import Path

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
