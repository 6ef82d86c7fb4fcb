"""The gallery as the page lists it: read once for each of its versions, so that thousands of clips stay quick."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

from maclip_runtime.bundle.names import name_key
from maclip_runtime.gallery import EnrolledClip, Gallery
from maclip_runtime.gallery.rows import Member

SHOWN_CLIPS = 4  # of a class in the list of classes


class Shelf:
    """Lists classes and clips page by page. Safe to use from several threads."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._classes: list[dict[str, Any]] = []
        self._keys: list[str] = []
        self._members: dict[str, list[Member]] = {}
        self._negatives: list[int] = []

    def classes(self, query: str, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many classes contain `query` in their names, and a page of them, by name."""
        with self._lock:
            self._read()
            wanted = name_key(query)
            found = [one for one, key in zip(self._classes, self._keys, strict=True) if wanted in key]
            return len(found), found[offset : offset + limit]

    def names(self) -> list[tuple[str, str]]:
        """Each class, and the form of its name that searches compare."""
        with self._lock:
            self._read()
            return [(one["name"], key) for one, key in zip(self._classes, self._keys, strict=True)]

    def clips(self, class_name: str | None, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many clips a class (None: the negatives) has, and a page of them, the newest first."""
        with self._lock:
            self._read()
            name = class_name if class_name is None else self._gallery.spelling(class_name)
            ids = self._negatives if name is None else [one.id for one in self._members.get(name, [])]
        shown = list(reversed(ids))[offset : offset + limit]
        return len(ids), [clip_facts(clip) for clip in reversed(self._some(name, shown))]

    def counts(self) -> dict[str, int]:
        """How much there is."""
        with self._lock:
            self._read()
            clips = sum(len(members) for members in self._members.values())
            return {"classes": len(self._classes), "clips": clips, "negatives": len(self._negatives)}

    def thumbnail(self, clip_id: int) -> bytes | None:
        """A clip's strip, made when it was enrolled; None where the clip is gone."""
        with self._lock:
            self._read()
            negative = clip_id in self._negatives
        found = self._some(None if negative else "", [clip_id])
        return found[0].thumbnail if found else None

    def _some(self, name: str | None, ids: Sequence[int]) -> list[EnrolledClip]:
        if name is None:
            wanted = set(ids)
            return [clip for clip in self._gallery.negatives() if clip.id in wanted]
        return self._gallery.clips(ids=ids) if ids else []

    def _read(self) -> None:
        version = self._gallery.version
        if version == self._version:
            return
        members: dict[str, list[Member]] = {}
        for member in self._gallery.members():
            members.setdefault(member.class_name, []).append(member)
        self._members = members
        self._classes = sorted(
            (
                {**dataclasses.asdict(info), "shown": [one.id for one in members.get(info.name, [])[-SHOWN_CLIPS:]]}
                for info in self._gallery.classes()
            ),
            key=lambda one: name_key(one["name"]),
        )
        self._keys = [name_key(one["name"]) for one in self._classes]
        self._negatives = [clip.id for clip in self._gallery.negatives()]
        self._version = version


def clip_facts(clip: EnrolledClip) -> dict[str, Any]:
    """A clip for the page, as plain values."""
    return {
        "id": clip.id,
        "class_name": clip.class_name or None,
        "text_name": clip.text_name,
        "source": clip.source,
        "duration_s": round(clip.duration_s, 2),
        "enrolled_at": clip.enrolled_at,
        "quality": clip.quality,
        "forced": list(clip.forced),
    }
