"""One clip as an entry of a store: an exported gallery of this clip alone, named by its sha256."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.exchange import write_archive
from maclip_runtime.gallery.exported import ExportedGallery
from maclip_runtime.gallery.rows import EnrolledClip
from maclip_runtime.gallery.sharing.index import Item, SharedIndex, corrupt


def entry_name(sha256: str) -> str:
    """Where an entry lies in a store."""
    return f"clips/{sha256}.zip"


def entry_of(clip: EnrolledClip, contract: str | None) -> bytes:
    """The entry of a clip; the same clip gives the same bytes."""
    raw = io.BytesIO()
    write_archive(raw, contract, [clip], [])
    return raw.getvalue()


def clip_of(content: bytes, item: Item, index: SharedIndex, where: str) -> EnrolledClip:
    """The clip of an entry, checked as an import checks it, and against the index. Raises `share-corrupt`."""
    name = entry_name(item.entry or "")
    if len(content) != item.size or hashlib.sha256(content).hexdigest() != item.entry:
        raise corrupt(where, f"{name} is not what was signed")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            reader = ExportedGallery(Path(name), archive, len(content))
            if len(reader.facts) != 1 or reader.limits:
                raise corrupt(where, f"{name} is not one clip")
            clip = reader.clip(0)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise corrupt(where, f"{name} cannot be read") from error
    except MaclipError as error:
        if error.code == "share-corrupt":
            raise
        raise corrupt(where, f"{name}: {error.message.rstrip('.')}") from error
    agree = (clip.class_name, clip.digest, reader.contract) == (item.class_name, item.digest, index.contract)
    if not agree or clip.features.shape != (index.frames, index.width):
        raise corrupt(where, f"{name} is another clip than the index says")
    return clip
