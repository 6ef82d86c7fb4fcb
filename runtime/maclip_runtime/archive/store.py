"""A store: a folder of fragments. One program at a time appends to it; any number read it meanwhile."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from maclip_runtime import values
from maclip_runtime.archive.arrow import arrow
from maclip_runtime.archive.fragments import (
    PART_SUFFIX,
    SUFFIX,
    TORN_SUFFIX,
    Fragment,
    Record,
    Rows,
    Settings,
    TornFragment,
    read_fragment,
    write_fragment,
)
from maclip_runtime.archive.packing import Packed
from maclip_runtime.archive.videos import Video, state_of
from maclip_runtime.errors import MaclipError

LOCK_FILE = "lock"

log = logging.getLogger("maclip")


@dataclass
class Kept:
    """What a store holds of one content, by its digest: `record` is the newest, `numbers` those of its windows."""

    record: Record
    numbers: set[int] = field(default_factory=set)
    lost: dict[int, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all of its windows are there."""
        return self.record.windows is not None and len(self.numbers) == self.record.windows


class Store:
    """The fragments of a folder as they are when it is opened, and those that this program appends.

    Fragments that are torn are named in the log and left out. Windows of a video that has changed since are left out
    too, once the changed one has been indexed.
    """

    def __init__(self, path: Path) -> None:
        """Raises `archive-missing` without pyarrow, `archive-corrupt`, `archive-mismatch`, `archive-unreadable`."""
        arrow()
        self.path = path
        self.fragments: list[Fragment] = []
        self.torn: list[Path] = []
        self.videos: dict[str, Kept] = {}  # by digest
        self._named: dict[str, str] = {}  # the digest of a name's newest content
        self._last = 0
        for file in _files(path):
            self._last = max(self._last, _number(file))
            try:
                fragment = read_fragment(file)
            except TornFragment as error:
                self.torn.append(file)
                log.warning("%s is torn and is left out: %s; index its videos again", file, error)
            except FileNotFoundError:  # an indexer has put a torn one aside
                continue
            except OSError as error:
                raise unreadable(path, error) from error
            else:
                self._take(fragment)

    @property
    def settings(self) -> Settings | None:
        """What its windows have in common; None while it has no fragment."""
        return self.fragments[0].settings if self.fragments else None

    def require(self, contract: str) -> Settings:
        """The settings, if the store was made with the bundle of this contract.

        Raises `archive-empty`, `archive-mismatch`.
        """
        settings = self.settings
        if settings is None:
            raise MaclipError(
                "archive-empty", f"The store {self.path} holds no windows.", "Index videos first: maclip-run index."
            )
        if settings.contract != contract:
            raise mismatch(self.path, "it was made with another bundle")
        return settings

    def find(self, video: Video) -> Kept | None:
        """What is there of a video's content, also under another name."""
        return self.videos.get(video.digest)

    def is_current(self, digest: str) -> bool:
        """Whether this content is the newest of its name."""
        kept = self.videos.get(digest)
        return kept is not None and self._named.get(kept.record.video.name) == digest

    def changed(self, video: Video) -> bool:
        """Whether the store has another content of this name."""
        return self._named.get(video.name, video.digest) != video.digest

    def copy_of(self, video: Video) -> str | None:
        """The path of the same content, where it is indexed under another path at which it still lies."""
        kept = self.find(video)
        if kept is None or kept.record.video.path == video.path:
            return None
        there = kept.record.video
        return there.path if state_of(there.path, there.digest) == "there" else None

    def append(self, settings: Settings, records: list[Record], rows: Rows, packed: Packed) -> None:
        """Write a fragment, within `writing`. Raises `output-unwritable`: what was written before stays."""
        try:
            file = write_fragment(self.path, self._last + 1, settings, records, rows, packed)
            self._last += 1
            self._take(read_fragment(file))
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _take(self, fragment: Fragment) -> None:
        if self.settings not in (None, fragment.settings):
            raise mismatch(self.path, f"{fragment.path.name} was made with another bundle, window or hop")
        self.fragments.append(fragment)
        for place, record in enumerate(fragment.records):
            kept = self.videos.setdefault(record.video.digest, Kept(record))
            if record.windows is None and kept.record.windows is not None:
                record = Record(record.video, kept.record.windows, kept.record.end_s, record.lost)
            kept.record = record
            kept.numbers.update(fragment.rows.number[fragment.rows.video == place].tolist())
            kept.lost.update(record.lost)
            self._named[record.video.name] = record.video.digest


@contextmanager
def writing(path: str) -> Iterator[Store]:
    """Open a store to index into, and keep other programs from appending meanwhile; its folder is made.

    Torn fragments are put aside, and what a killed program left is removed. Raises `archive-busy`,
    `output-unwritable`, and what opening raises.
    """
    folder = Path(values.path(path, "store"))
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _lock(held.enter_context((folder / LOCK_FILE).open("ab")), folder)
            for part in folder.glob(f"*{PART_SUFFIX}"):
                part.unlink(missing_ok=True)
            store = Store(folder)
            for file in store.torn:
                file.rename(file.with_suffix(TORN_SUFFIX))
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield store


def _lock(lock: IO[bytes], folder: Path) -> None:
    """Hold the lock until the file is closed; the system gives it up when a program is killed."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MaclipError(
            "archive-busy",
            f"Another program is indexing into {folder}.",
            "Wait until it has finished, or give another --store.",
        ) from None


def open_store(path: str) -> Store:
    """Open a store to search. Raises `archive-empty` where there is none, and what opening raises."""
    folder = Path(values.path(path, "store"))
    if not folder.is_dir():
        raise MaclipError("archive-empty", f"There is no store {folder}.", "Index videos first: maclip-run index.")
    return Store(folder)


def store_exists(path: Path) -> bool:
    """Whether a store has windows, so that their length is settled."""
    return path.is_dir() and Store(path).settings is not None


def mismatch(path: Path, why: str) -> MaclipError:
    """The error `archive-mismatch`; `why` continues the sentence."""
    return MaclipError(
        "archive-mismatch",
        f"The store {path} cannot be used: {why}.",
        "Use the bundle, the window and the hop that it was made with, or give another --store.",
    )


def unreadable(path: Path, error: OSError) -> MaclipError:
    """The error `archive-unreadable`."""
    return MaclipError(
        "archive-unreadable",
        f"The store {path} cannot be read ({error.strerror or error}).",
        "Give a folder that you may read.",
    )


def _unwritable(path: Path, error: OSError) -> MaclipError:
    kept = " What was indexed before is kept." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return MaclipError(
        "output-unwritable",
        f"The store {path} cannot be written ({error.strerror or error}).{kept}",
        "Give a folder that you may write to, on a disk with free space; then index again: it goes on from there.",
    )


def _files(folder: Path) -> list[Path]:
    try:
        return sorted((Path(one) for one in os.scandir(folder) if one.name.endswith(SUFFIX)), key=_number)
    except OSError as error:
        raise unreadable(folder, error) from error


def _number(file: Path) -> int:
    return int(file.stem) if file.stem.isdigit() else 0
