"""Which video it is: its name, where it lies, and a digest by which a changed or moved one is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import is_picture, is_video
from maclip_runtime.reading.pictures import list_pictures
from maclip_runtime.reading.video import unreadable
from maclip_runtime.redaction import one_line, redact
from maclip_runtime.sources import local_path, scheme_of

PART_BYTES = 1 << 16  # of the beginning, the middle and the end of a file


@dataclass(frozen=True)
class Video:
    """A video file or a folder of frames as it was when it was looked at.

    Attributes:
        name: the path as given, without credentials: what events call it.
        path: the absolute path.
        size: bytes, of a folder those of all pictures.
        modified: Unix time in seconds of the last change.
        digest: of its size and of parts of its content, so that a copy has the same one.
    """

    name: str
    path: str
    size: int
    modified: float
    digest: str


def look_at(path: str) -> Video:
    """What lies at a path or `file://` address. Raises `clip-unreadable`."""
    if scheme_of(path) not in {"", "file"}:
        raise MaclipError(
            "clip-unreadable",
            f"{redact(path)} cannot be indexed: only a video file or a folder of frames can.",
            "Record it into a file first.",
        )
    place = local_path(path)
    try:
        files = list_pictures(place) if place.is_dir() else [place]
        stats = [file.stat() for file in files]
        digest = hashlib.sha256()
        digest.update("".join(f"{stat.st_size}\n" for stat in stats).encode())
        for file in dict.fromkeys((files[0], files[-1])):
            for part in _parts(file):
                digest.update(part)
    except OSError as error:
        raise unreadable(redact(path), f"cannot be read ({error.strerror or type(error).__name__})") from error
    return Video(
        one_line(redact(path)),
        redact(os.path.abspath(place)),
        sum(stat.st_size for stat in stats),
        max(stat.st_mtime for stat in stats),
        digest.hexdigest(),
    )


def state_of(path: str, digest: str) -> str:
    """Whether the video at `path` is the one with this digest: "there", "changed" or "missing"."""
    try:
        return "there" if look_at(path).digest == digest else "changed"
    except MaclipError:
        return "missing"


def expanded(paths: Iterable[str]) -> Iterator[str]:
    """The videos that paths name; of a folder without pictures those in it and in its folders, by their paths.

    Raises `clip-unreadable` for such a folder that holds no video.
    """
    for path in paths:
        place = local_path(path) if scheme_of(path) in {"", "file"} else None
        if place is None or not place.is_dir() or _has_pictures(place):
            yield path
            continue
        found = sorted(str(file) for file in _walk(place) if is_video(file))
        if not found:
            raise unreadable(path, "holds neither frames nor videos")
        yield from found


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root) / name for name in files)


def _has_pictures(folder: Path) -> bool:
    try:
        return any(is_picture(entry.name) for entry in os.scandir(folder))
    except OSError:
        return True  # reading it says why


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        for at in sorted({0, max(0, size // 2 - PART_BYTES // 2), max(0, size - PART_BYTES)}):
            opened.seek(at)
            yield opened.read(PART_BYTES)
