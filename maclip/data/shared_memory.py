"""Tensors that the processes of one machine share, and how much memory a cache may take."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from maclip_runtime.errors import MaclipError

SHARED = Path("/dev/shm")  # memory as files, where the system has it
GIB = 2**30


@dataclass(frozen=True)
class Room:
    """Work and tensors that `size` processes of one machine share, of which this one is `place`.

    in_memory: whether they share memory; if not, each has its own, of a GPU.
    tensor: a tensor of zeros by name, shape and type, the same memory in every process.
    """

    place: int
    size: int
    in_memory: bool
    tensor: Callable[[str, tuple[int, ...], torch.dtype], Tensor]

    def owns(self, index: int) -> bool:
        """Whether this process computes what has the number `index`."""
        return index % self.size == self.place


@contextmanager
def shared_room(token: str, place: int, size: int, folder: Path, in_memory: bool = True) -> Iterator[Room]:
    """A room for the processes that give the same `token`. They may leave it only after all have their tensors.

    folder: holds the tensors where there is no memory for shared files.
    """
    made: list[Path] = []

    def tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        count = math.prod(shape)
        need = count * dtype.itemsize
        require_memory(need)
        path = _place(need, folder) / f"maclip-{token}-{name}"
        made.append(path)
        _reserve(path, need)
        return torch.from_file(str(path), shared=True, size=count, dtype=dtype).view(shape)

    try:
        yield Room(place, size, in_memory, tensor)
    finally:
        for path in made:  # the memory stays until the last process lets it go
            path.unlink(missing_ok=True)


def available_bytes() -> int | None:
    """Memory of this machine that is free for use, in bytes; None where it is not known."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def require_memory(need: int) -> None:
    """Raise `memory-short` if the machine has not `need` bytes to spare."""
    there = available_bytes()
    if there is not None and need > there:
        raise MaclipError(
            "memory-short",
            f"A cache needs {need / GIB:.1f} GiB of memory, and {there / GIB:.1f} GiB are free.",
            "Use --cache disk, lower --views or --stem-views, or train on fewer clips.",
        )


def _place(need: int, folder: Path) -> Path:
    # Processes of one machine see the same free space but for what they themselves reserve.
    if SHARED.is_dir() and shutil.disk_usage(SHARED).total > 2 * need:
        return SHARED
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _reserve(path: Path, need: int) -> None:
    """Make the file `path` of `need` bytes, all of them reserved: a full disk would end the process later."""
    try:
        with path.open("ab") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, need)
            else:
                file.truncate(need)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise MaclipError(
            "memory-short",
            f"{path.parent} has no room for a cache of {need / GIB:.1f} GiB ({error.strerror}).",
            "Use --cache disk, lower --views or --stem-views, or train on fewer clips.",
        ) from error
