"""The signed index of a shared gallery: which clips it has, which were removed, and when."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from maclip_runtime.bundle.names import normal_form
from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.exported import MAX_CLIPS, MAX_PICTURE_BYTES, MAX_VALUES
from maclip_runtime.gallery.naming import MAX_NAME_LENGTH, printable
from maclip_runtime.gallery.sharing.keys import Signer, is_signed

INDEX_NAME = "index.json"
FORMAT, VERSION = "maclip-shared-gallery", 1
MAX_ITEMS = 2 * MAX_CLIPS  # removed ones too
MAX_DIGEST_LENGTH = 128
MAX_ENTRY_BYTES = 9 * MAX_VALUES + MAX_PICTURE_BYTES + (1 << 18)
MAX_INDEX_BYTES = 128 << 20
MAX_SERIAL = 2**53
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # UTC; as text in the order of time
SHA256 = re.compile(r"[0-9a-f]{64}")
KEYS = {"format", "version", "contract", "serial", "frames", "width", "items"}

ClipId = tuple[str, str]  # the class in its `normal_form` ("" for negatives), and the digest of the clip's frames


@dataclass(frozen=True)
class Item:
    """The last that happened to one clip: it was added, or removed.

    class_name: as a gallery spells it; "" for a negative.
    digest: of the clip's frames.
    at: when, ISO 8601 in UTC with milliseconds.
    entry: sha256 of the clip's entry in the store; None where it was removed, or is not in a store yet.
    size: bytes of the entry.
    removed: whether it was removed.
    """

    class_name: str
    digest: str
    at: str
    removed: bool
    entry: str | None = None
    size: int = 0

    @property
    def id(self) -> ClipId:
        """What the clip is in every gallery."""
        return normal_form(self.class_name), self.digest

    def later_than(self, other: Item | None) -> bool:
        """Whether this is what counts beside `other`: the later one, and at the same time a removal."""
        return other is None or (self.at, self.removed) > (other.at, other.removed)


@dataclass(frozen=True)
class SharedIndex:
    """What a store holds.

    contract: of the bundle with which all clips were enrolled.
    serial: increased by each publishing; no machine goes back to a lower one.
    frames, width: T and D' of the clips' features.
    items: by clip.
    """

    contract: str
    serial: int
    frames: int
    width: int
    items: Mapping[ClipId, Item]

    def text(self) -> str:
        """The index as JSON; equal indexes give equal text."""
        rows = [
            [item.class_name, item.digest, item.at, item.removed, item.entry, item.size]
            for _, item in sorted(self.items.items())
        ]
        head = {name: getattr(self, name) for name in ("contract", "serial", "frames", "width")}
        return json.dumps({"format": FORMAT, "version": VERSION, **head, "items": rows}, ensure_ascii=False)


def merged(a: Iterable[Item], b: Iterable[Item]) -> dict[ClipId, Item]:
    """The items of both, of each clip the one that counts; the order in which many are merged does not matter."""
    found: dict[ClipId, Item] = {}
    for item in (*a, *b):
        if item.later_than(found.get(item.id)):
            found[item.id] = item
    return found


def sealed(index: SharedIndex, signer: Signer) -> bytes:
    """The index with its signature, as the store keeps it."""
    text = index.text()
    signed = {"key": _encoded(signer.public), "signature": _encoded(signer.sign(text.encode())), "index": text}
    return json.dumps(signed, ensure_ascii=False).encode()


def opened(content: bytes, trusted: frozenset[bytes], where: str) -> SharedIndex:
    """The index of what a store gave, after its signature was verified. Raises `share-untrusted`, `share-corrupt`."""
    try:
        outer = read_json(content.decode())
        if not isinstance(outer, dict) or set(outer) != {"key", "signature", "index"}:
            raise ValueError("it has other keys")
        key, signature = _decoded(outer["key"]), _decoded(outer["signature"])
        text = outer["index"]
        if not isinstance(text, str):
            raise ValueError("its index is not text")
    except (ValueError, binascii.Error) as error:
        raise corrupt(where, f"{INDEX_NAME} is no signed index ({error})") from error
    if key not in trusted or not is_signed(text.encode(), signature, key):
        why = "its signature is wrong" if key in trusted else f"it was signed by the key {_encoded(key)[:16]}…"
        raise MaclipError(
            "share-untrusted",
            f"Nothing of {where} is used: {why}.",
            "Give the public key of who publishes there with --trust. If you trust it already, somebody changed the "
            "store: ask them.",
        )
    try:
        return _checked(read_json(text))
    except ValueError as error:
        raise corrupt(where, f"its index cannot be used ({error})") from error


def fingerprint(index: SharedIndex) -> str:
    """The sha256 of an index."""
    return hashlib.sha256(index.text().encode()).hexdigest()


def corrupt(where: str, why: str) -> MaclipError:
    """The error `share-corrupt`; `why` continues the sentence."""
    return MaclipError("share-corrupt", f"Nothing of {where} is used: {why}.", "Publish the gallery there again.")


def _checked(data: Any) -> SharedIndex:
    _require(isinstance(data, dict) and set(data) == KEYS, "it has other keys")
    _require((data["format"], data["version"]) == (FORMAT, VERSION), "it is of another version of maclip")
    contract, serial = data["contract"], data["serial"]
    _require(isinstance(contract, str) and 0 < len(contract) <= 200 and printable(contract), "it has an odd contract")
    _require(_whole(serial, MAX_SERIAL), "it has an odd serial")
    _require(_whole(data["frames"], MAX_VALUES) and _whole(data["width"], MAX_VALUES), "it has odd sizes")
    rows = data["items"]
    _require(isinstance(rows, list) and len(rows) <= MAX_ITEMS, "it has too many clips")
    items = [_item(row) for row in rows]
    found = {item.id: item for item in items}
    _require(len(found) == len(items), "it has a clip twice")
    return SharedIndex(contract, serial, data["frames"], data["width"], found)


def _item(row: Any) -> Item:
    _require(isinstance(row, list) and len(row) == 6, "a clip has other fields")
    name, digest, at, removed, entry, size = row
    _require(isinstance(name, str) and len(name) <= MAX_NAME_LENGTH and printable(name), "a clip has an odd class")
    _require(isinstance(digest, str) and len(digest) <= MAX_DIGEST_LENGTH and printable(digest), "an odd digest")
    _require(isinstance(at, str) and TIME.fullmatch(at) is not None, "a clip has an odd time")
    _require(isinstance(removed, bool), "a clip is neither there nor removed")
    if removed:
        _require(entry is None and size == 0, "a removed clip has an entry")
    else:
        # Names of entries are digests, so none leaves the store's folder.
        _require(isinstance(entry, str) and SHA256.fullmatch(entry) is not None, "a clip has an odd entry")
        _require(_whole(size, MAX_ENTRY_BYTES), "a clip's entry is too large")
    return Item(name, digest, at, removed, entry, size)


def _require(good: bool, why: str) -> None:
    if not good:
        raise ValueError(why)


def _whole(value: Any, maximum: int) -> bool:
    return type(value) is int and 0 < value <= maximum


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("its key or signature is not text")
    return base64.b64decode(text, validate=True)
