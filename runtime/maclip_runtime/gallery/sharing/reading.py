"""Read a store's index and refuse what must not be used."""

from __future__ import annotations

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.sharing.index import INDEX_NAME, MAX_INDEX_BYTES, SharedIndex, fingerprint, opened
from maclip_runtime.gallery.sharing.journal import Seen
from maclip_runtime.gallery.sharing.stores import Store


def read_index(
    store: Store, trusted: frozenset[bytes], seen: Seen, contract: str | None, *, unless: str | None = None
) -> tuple[SharedIndex | None, str | None]:
    """The index of a store and its tag; (None, None) where there is none, (None, `unless`) where it is as before.

    seen: the newest index that this gallery has used: an older one is refused.
    contract: of this gallery; None: of none yet.

    Raises `share-untrusted`, `share-corrupt`, `share-rollback`, `contract-mismatch`, and what the store raises.
    """
    stored = store.get(INDEX_NAME, MAX_INDEX_BYTES, unless=unless)
    if stored is None:
        if seen.serial:
            raise _rollback(store.where, "has no index any more")
        return None, None
    if unless is not None and stored.tag == unless and not stored.content:
        return None, unless
    index = opened(stored.content, trusted, store.where)
    if contract is not None and index.contract != contract:
        raise MaclipError(
            "contract-mismatch",
            f"The gallery at {store.where} was made with another model: its features cannot be compared.",
            "Use the bundle with which it was made, or publish to another address.",
        )
    if index.serial < seen.serial or (index.serial == seen.serial and fingerprint(index) != seen.sha256):
        raise _rollback(store.where, f"gives its state {index.serial}, after state {seen.serial} was used here")
    return index, stored.tag


def _rollback(where: str, why: str) -> MaclipError:
    return MaclipError(
        "share-rollback",
        f"Nothing of {where} is used: it {why}.",
        "Somebody brought back an old copy: publish again from a machine that is up to date, to a new address.",
    )
