"""Bring a gallery's changes into a store, whoever else writes there at the same time."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.gallery.errors import empty
from maclip_runtime.gallery.sharing.entries import entry_name, entry_of
from maclip_runtime.gallery.sharing.index import (
    INDEX_NAME,
    MAX_ENTRY_BYTES,
    MAX_ITEMS,
    Item,
    SharedIndex,
    corrupt,
    merged,
    sealed,
)
from maclip_runtime.gallery.sharing.journal import SharedGallery
from maclip_runtime.gallery.sharing.keys import Signer, trusted_keys
from maclip_runtime.gallery.sharing.reading import read_index
from maclip_runtime.gallery.sharing.stores import ChangedMeanwhile, Store, open_store

MAX_TRIES = 20  # of which each is lost to another writer
MAX_PAUSE_SECONDS = 0.2  # before another one, drawn, so that two writers do not meet again


@dataclass(frozen=True)
class Published:
    """What a publishing did.

    serial: of the store's index now.
    added, removed: clips that this gallery brought in, and took away.
    clips: how many the store has now.
    tries: how often the index was written, others being first.
    """

    serial: int
    added: int
    removed: int
    clips: int
    tries: int


def publish(
    gallery: SharedGallery,
    url: str,
    *,
    key: str | PathLike[str],
    trust: Sequence[str | PathLike[str]] = (),
) -> Published:
    """Publish what changed in a gallery since the last time: clips that came and clips that were removed.

    gallery: whose changes are published; it is not changed.
    url: the store, `https://HOST/PATH` or `s3://BUCKET/PATH`.
    key: the private key that signs.
    trust: public keys of others who publish there; that of `key` is trusted anyway.

    Of each clip the later change counts, and at the same time a removal. Other writers lose nothing: the index is
    replaced only if it is the one that was read. A publishing that was killed left at most clips that no index names.

    Raises `gallery-empty`, `share-*`, `contract-mismatch`, `key-invalid`, `token-invalid`, `output-unwritable`.
    """
    signer = Signer(key)
    trusted = trusted_keys(trust) | {signer.public}
    store = open_store(url)
    try:
        if gallery.contract is None:
            raise empty(gallery.path)
        gallery.begin()
        publishing = _Publishing(gallery, gallery.contract, store, signer, trusted)
        for tries in range(1, MAX_TRIES + 1):
            try:
                return publishing.attempt(tries)
            except ChangedMeanwhile:
                time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
    finally:
        store.close()
    raise MaclipError(
        "share-busy",
        f"Others wrote to {store.where} each of {MAX_TRIES} times.",
        "Try again later.",
        EXIT_MACHINE_LACKS,
    )


class _Publishing:
    """Attempts to bring a gallery's changes into a store."""

    def __init__(
        self, gallery: SharedGallery, contract: str, store: Store, signer: Signer, trusted: frozenset[bytes]
    ) -> None:
        self._gallery, self._contract = gallery, contract
        self._store, self._signer, self._trusted = store, signer, trusted
        self._uploaded: set[str] = set()  # entries, by sha256: not once more in the next attempt

    def attempt(self, tries: int) -> Published:
        """Raises `ChangedMeanwhile` where another writer is first."""
        gallery, store = self._gallery, self._store
        index, tag = read_index(store, self._trusted, gallery.seen(store.where), self._contract)
        before = dict(index.items) if index is not None else {}
        items = merged(before.values(), gallery.items().values())
        changed = [item for clip_id, item in items.items() if item != before.get(clip_id)]
        shape = (index.frames, index.width) if index is not None else next(iter(gallery.shapes()), (1, 1))
        if gallery.shapes() - {shape}:
            raise corrupt(store.where, f"its features are {shape[0]} x {shape[1]}, those of {gallery.path} are not")
        for item in list(changed):
            if not item.removed:
                stored = self._stored(item)
                if stored is None:  # removed here since it was listed: the next publishing says so
                    changed.remove(item)
                    items.pop(item.id)
                    items.update({item.id: before[item.id]} if item.id in before else {})
                else:
                    items[item.id] = stored
        there = sum(not item.removed for item in items.values())
        if not changed and index is not None:
            gallery.saw(store.where, index)
            return Published(index.serial, 0, 0, there, tries)
        if len(items) > MAX_ITEMS:
            raise corrupt(store.where, f"with this gallery it would have more than {MAX_ITEMS} clips")
        new = SharedIndex(self._contract, index.serial + 1 if index else 1, *shape, items)
        store.replace(INDEX_NAME, sealed(new, self._signer), tag)
        gallery.saw(store.where, new)
        gone = sum(item.removed for item in changed)
        return Published(new.serial, len(changed) - gone, gone, there, tries)

    def _stored(self, item: Item) -> Item | None:
        """The item with its entry, which lies in the store now; None where the clip has gone."""
        clip = self._gallery.newest(item)
        if clip is None:
            return None
        content = entry_of(clip, self._contract)
        if len(content) > MAX_ENTRY_BYTES:
            raise corrupt(self._store.where, f"a clip of {clip.class_name!r} has {len(content)} bytes")
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 not in self._uploaded:
            self._store.put(entry_name(sha256), content)
            self._uploaded.add(sha256)
        return replace(item, entry=sha256, size=len(content))
