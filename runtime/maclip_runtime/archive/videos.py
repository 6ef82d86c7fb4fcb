"""Which video it is: its name, where it lies, and a digest by which a changed or moved one is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import is_picture, is_video
from maclip_runtime.reading.pictures import list_pictures
from maclip_runtime.reading.video import unreadable
from maclip_runtime.redaction import one_line, redact
from maclip_runtime.sources import local_path, scheme_of
from maclip_runtime.sources.bags import BagAddress

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
    """What lies at a path, a `file://` or a `bag:` address. Raises `clip-unreadable`, `source-unknown`."""
    if scheme_of(path) == "bag":
        address = BagAddress.parse(path)
        return _video(str(address), address.files, str(address), str(address.absolute()), address.topic or "")
    if scheme_of(path) not in {"", "file"}:
        raise MaclipError(
            "clip-unreadable",
            f"{redact(path)} cannot be indexed: only a video file, a folder of frames or a bag can.",
            "Record it into a file first.",
        )
    place = local_path(path)
    name, absolute = one_line(redact(place)), redact(os.path.abspath(place))
    return _video(redact(path), lambda: list_pictures(place) if place.is_dir() else [place], name, absolute)


def _video(shown: str, files_of: Callable[[], list[Path]], name: str, path: str, part: str = "") -> Video:
    """The video in files; `part` says which of those in the same files it is."""
    try:
        files = files_of()
        stats = [file.stat() for file in files]
        digest = hashlib.sha256()
        digest.update("".join(f"{stat.st_size}\n" for stat in stats).encode() + part.encode())
        for file in dict.fromkeys((files[0], files[-1])):
            for piece in _pieces(file):
                digest.update(piece)
    except OSError as error:
        raise unreadable(shown, f"cannot be read ({error.strerror or type(error).__name__})") from error
    size, modified = sum(stat.st_size for stat in stats), max(stat.st_mtime for stat in stats)
    return Video(name, path, size, modified, digest.hexdigest())


def state_of(path: str, digest: str) -> str:
    """Whether the video at `path` is the one with this digest: "there", "changed" or "missing"."""
    try:
        return "there" if look_at(path).digest == digest else "changed"
    except MaclipError:
        return "missing"


def expanded(paths: Iterable[str]) -> Iterator[str]:
    """The videos that paths name; of a folder the videos in it and below it, and the folders of frames.

    Pictures beside videos are no frames. Raises `clip-unreadable` for a folder that holds neither.
    """
    for path in paths:
        place = local_path(path) if scheme_of(path) in {"", "file"} else None
        if place is None or not place.is_dir():
            yield path
            continue
        found = sorted(_walk(place))
        if not found:
            raise unreadable(path, "holds neither frames nor videos")
        yield from found


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        videos = [os.path.join(root, name) for name in files if is_video(name)]
        yield from videos
        if not videos and any(map(is_picture, files)):
            yield root


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        for at in sorted({0, max(0, size // 2 - PART_BYTES // 2), max(0, size - PART_BYTES)}):
            opened.seek(at)
            yield opened.read(PART_BYTES)
