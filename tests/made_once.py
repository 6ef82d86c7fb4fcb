"""Folders that take seconds to fill and that all processes of a run of the tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

Once = Callable[[str, Callable[[Path], object]], Path]


def common_root(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that is the same in all processes of this run."""
    root = factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


def once_in(root: Path) -> Once:
    """`once(name, make)`: a folder in `root` that `make` has filled, whichever process asked first."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder = root / f"once-{name}"
        with FileLock(root / f"once-{name}.lock"):
            done = folder / ".done"
            if not done.exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                done.touch()
        return folder

    return made
