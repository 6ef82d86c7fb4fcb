"""Take over what a store has, all of it or nothing, also after days without a network."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.gallery.errors import unwritable
from maclip_runtime.gallery.rows import NEGATIVE, EnrolledClip
from maclip_runtime.gallery.sharing.entries import clip_of, entry_name
from maclip_runtime.gallery.sharing.index import Item, SharedIndex, corrupt
from maclip_runtime.gallery.sharing.journal import Incomplete, SharedGallery, wanted
from maclip_runtime.gallery.sharing.keys import trusted_keys
from maclip_runtime.gallery.sharing.reading import read_index
from maclip_runtime.gallery.sharing.stores import Store, open_store

MAX_TRIES = 5  # of which each finds the gallery changed since the clips were fetched


@dataclass(frozen=True)
class Followed:
    """What was taken over.

    serial: of the store's index; 0 where nothing was published yet.
    added, removed: clips that came and went here.
    classes: names of the classes that they belong to.
    """

    serial: int
    added: int = 0
    removed: int = 0
    classes: tuple[str, ...] = ()


def follow(
    gallery: SharedGallery,
    url: str,
    *,
    trust: Sequence[str | PathLike[str]],
    progress: Callable[[int, int], None] | None = None,
) -> Followed:
    """Take over what was published since the last time, in one transaction.

    gallery: which is changed; one that does not exist yet is created, under the store's contract if it has none.
    url: the store, `https://HOST/PATH` or `s3://BUCKET/PATH`.
    trust: the public keys of those who may publish there.
    progress: called with the number of clips fetched so far, and of all.

    Of each clip the later change counts, and at the same time a removal: what was enrolled here and not published yet
    stays. Clips that were fetched before it was interrupted are not fetched again. Calibrated limits are not shared.

    Raises `share-*`, `contract-mismatch`, `key-invalid`, `token-invalid`, `output-unwritable`; then nothing changed.
    """
    trusted = trusted_keys(trust)
    store = open_store(url)
    try:
        seen = gallery.seen(store.where)
        index, tag = read_index(store, trusted, seen, gallery.expected_contract, unless=seen.tag)
        if index is None:
            return Followed(seen.serial)
        if gallery.contract is not None:
            gallery.begin()
        for _ in range(MAX_TRIES):
            news = wanted(index, gallery.items())
            if not news:
                gallery.saw(store.where, index, tag)
                return Followed(index.serial)
            _require_shape(gallery, index, store.where)
            with _Incoming(gallery.path) as incoming:
                _fetch(store, index, [item for item in news if not item.removed], incoming, progress)
                try:
                    added, removed = gallery.apply(store.where, index, tag, partial(_fetched, incoming, index, store))
                except Incomplete:
                    continue
                incoming.done = True
            names = (item.class_name for item in (*added, *removed) if item.class_name != NEGATIVE)
            return Followed(index.serial, len(added), len(removed), tuple(dict.fromkeys(names)))
    finally:
        store.close()
    raise MaclipError(
        "share-busy", f"{gallery.path} changed each of {MAX_TRIES} times.", "Try again later.", EXIT_MACHINE_LACKS
    )


class _Incoming:
    """A folder beside the gallery for clips that are fetched, by their digest; it stays until they are taken over."""

    def __init__(self, gallery: Path) -> None:
        self.path = gallery.with_name(f".{gallery.name}.incoming")
        self.done = False

    def __enter__(self) -> _Incoming:
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, str(error.strerror)) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self.done:
            shutil.rmtree(self.path, ignore_errors=True)

    def get(self, item: Item) -> bytes | None:
        """The entry, if it was fetched before and is whole."""
        with suppress(OSError):
            content = (self.path / str(item.entry)).read_bytes()
            if hashlib.sha256(content).hexdigest() == item.entry:
                return content
        return None

    def keep(self, item: Item, content: bytes) -> None:
        """Raises `output-unwritable`."""
        try:
            (self.path / str(item.entry)).write_bytes(content)
        except OSError as error:
            raise unwritable(self.path, str(error.strerror)) from error


def _fetch(
    store: Store,
    index: SharedIndex,
    items: Sequence[Item],
    incoming: _Incoming,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Fetch the entries that are not there yet; each is checked, as it will be once more when it is taken over."""
    for number, item in enumerate(items, 1):
        if incoming.get(item) is None:
            name = entry_name(str(item.entry))
            stored = store.get(name, item.size)
            if stored is None:
                raise corrupt(store.where, f"it lacks {name}")
            clip_of(stored.content, item, index, store.where)
            incoming.keep(item, stored.content)
        if progress:
            progress(number, len(items))


def _fetched(incoming: _Incoming, index: SharedIndex, store: Store, item: Item) -> EnrolledClip | None:
    content = incoming.get(item)
    return None if content is None else clip_of(content, item, index, store.where)


def _require_shape(gallery: SharedGallery, index: SharedIndex, where: str) -> None:
    if gallery.shapes() - {(index.frames, index.width)}:
        raise corrupt(where, f"its features are {index.frames} x {index.width}, those of {gallery.path} are not")
