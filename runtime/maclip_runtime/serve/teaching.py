"""Changes of the gallery from the page: each can be undone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import ClassLimit, EnrolledClip
from maclip_runtime.matching.enrolment import Enrolled
from maclip_runtime.reading.quality import ClipRejected
from maclip_runtime.recognizer import Recognizer
from maclip_runtime.serve.clips import NewClip

MAX_CHANGES = 50  # that can be undone; those of large classes hold all of their clips


@dataclass(frozen=True)
class Change:
    """A change, and what undoes it.

    kind, facts: what was done, for the page.
    clips: the clips that it changed or removed, as they were.
    gone: numbers of the clips that it added.
    limits: all calibrated limits as they were.
    undone: called after it was undone.
    """

    number: int
    kind: str
    facts: dict[str, Any]
    clips: tuple[EnrolledClip, ...]
    gone: tuple[int, ...]
    limits: tuple[ClassLimit, ...]
    undone: Callable[[], None] | None = None
    at: float = field(default_factory=time.time)


class Teaching:
    """Enrolls, moves, renames and removes; one change at a time. `changed` is called after each."""

    def __init__(self, recognizer: Recognizer, changed: Callable[[], None]) -> None:
        self._recognizer = recognizer
        self._gallery = recognizer.gallery
        self._changed = changed
        self._lock = threading.RLock()
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)
        self._count = 0

    def enroll(
        self,
        name: str,
        clips: Sequence[NewClip],
        *,
        no_text: bool = False,
        force: bool = False,
        kind: str = "enroll",
        undone: Callable[[], None] | None = None,
    ) -> tuple[Enrolled, list[dict[str, Any]], list[NewClip]]:
        """Add clips to a class. Of several, those that only repeat another are left out.

        Returns what was done, the clips that were left out with their reasons, and those that were added. Raises what
        `Recognizer.enroll` raises.
        """

        def add(some: Sequence[NewClip]) -> Enrolled:
            takes = [clip.take for clip in some]
            without = no_text or not self._has_text(name)
            return self._recognizer.enroller.enroll_takes(name, takes, no_text=without, force=force)

        with self._lock:
            limits = self._limits()
            done, left, added = _without_copies(clips, add)
            self._keep(kind, {"name": done.name, "clips": done.added}, limits, gone=done.ids, undone=undone)
        return done, left, added

    def add_negatives(
        self, clips: Sequence[NewClip], *, undone: Callable[[], None] | None = None
    ) -> tuple[list[int], list[dict[str, Any]], list[NewClip]]:
        """Add clips that show none of the actions, as `enroll` adds those of a class."""
        with self._lock:
            limits = self._limits()
            ids, left, added = _without_copies(
                clips, lambda some: self._recognizer.enroller.add_negative_takes([clip.take for clip in some])
            )
            self._keep("negatives", {"clips": len(ids)}, limits, gone=tuple(ids), undone=undone)
        return ids, left, added

    def move(self, ids: Sequence[int], class_name: str) -> int:
        """Move clips to a class. Raises `clip-unknown`, `name-invalid`."""
        with self._lock:
            before, limits = self._gallery.clips(ids=ids), self._limits()
            count = self._gallery.move(ids, class_name)
            self._keep("move", {"clips": count, "name": class_name}, limits, clips=before)
        return count

    def merge(self, source: str, target: str) -> int:
        """Move all clips of a class to another one. Raises `class-unknown`."""
        with self._lock:
            before, limits = self._gallery.clips(source), self._limits()
            self._gallery.clips(target)
            count = self._gallery.move([clip.id for clip in before], target)
            self._keep("merge", {"from": source, "name": target, "clips": count}, limits, clips=before)
        return count

    def rename(self, old: str, new: str) -> None:
        """Rename a class. Raises `class-unknown`, `class-exists`, `name-invalid`."""
        with self._lock:
            before, limits = self._gallery.clips(old), self._limits()
            self._gallery.rename(old, new)
            self._keep("rename", {"from": old, "name": new}, limits, clips=before)

    def remove(self, class_name: str, clip_id: int | None = None) -> int:
        """Remove a class, or one clip of it. Raises `class-unknown`, `clip-unknown`."""
        with self._lock:
            limits = self._limits()
            before = [clip for clip in self._gallery.clips(class_name) if clip_id in (None, clip.id)]
            count = self._gallery.remove(class_name, clip_id=clip_id)
            kind = "remove" if clip_id is None else "remove-clip"
            self._keep(kind, {"name": class_name, "clips": count}, limits, clips=before)
        return count

    def remove_negative(self, clip_id: int) -> None:
        """Remove a negative. Raises `clip-unknown`."""
        with self._lock:
            limits = self._limits()
            before = [clip for clip in self._gallery.negatives() if clip.id == clip_id]
            self._gallery.remove_negatives(clip_id=clip_id)
            self._keep("remove-negative", {"clips": 1}, limits, clips=before)

    def other(self, kind: str, facts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Any other change that adds clips or sets limits: `facts` makes it and says what was done."""
        with self._lock:
            limits, before = self._limits(), self._numbers()
            said = facts()
            self._keep(kind, said, limits, gone=tuple(self._numbers() - before))
        return said

    def undo(self) -> dict[str, Any]:
        """Undo the last change. Raises `undo-empty`."""
        with self._lock:
            if not self._changes:
                raise MaclipError("undo-empty", "There is nothing to undo.", "Change something first.")
            change = self._changes[-1]
            self._gallery.restore(change.clips, gone=change.gone, limits=change.limits)
            self._changes.pop()
        if change.undone is not None:
            change.undone()
        self._changed()
        return _facts(change)

    def changes(self) -> list[dict[str, Any]]:
        """What can be undone, the last change first."""
        with self._lock:
            return [_facts(change) for change in reversed(self._changes)]

    def _has_text(self, name: str) -> bool:
        """Whether the name can be a text: the bundle knows it, or the class exists and says so itself."""
        bundle, index = self._recognizer.bundle, self._recognizer.index.get()
        known = index is not None and self._gallery.spelling(name) in index.groups
        return known or bundle.manifest.text_encoder is not None or bundle.has_name(name)

    def _limits(self) -> tuple[ClassLimit, ...]:
        return tuple(self._gallery.limits().values())

    def _numbers(self) -> set[int]:
        return {member.id for member in self._gallery.members()} | {clip.id for clip in self._gallery.negatives()}

    def _keep(
        self,
        kind: str,
        facts: dict[str, Any],
        limits: tuple[ClassLimit, ...],
        *,
        clips: Sequence[EnrolledClip] = (),
        gone: tuple[int, ...] = (),
        undone: Callable[[], None] | None = None,
    ) -> None:
        self._count += 1
        self._changes.append(Change(self._count, kind, facts, tuple(clips), gone, limits, undone))
        self._changed()


def _facts(change: Change) -> dict[str, Any]:
    return {"number": change.number, "kind": change.kind, "at": change.at, **change.facts}


def _without_copies(
    clips: Sequence[NewClip], add: Callable[[Sequence[NewClip]], Any]
) -> tuple[Any, list[dict[str, Any]], list[NewClip]]:
    """Add clips; of several, those that only repeat another one are left out. Raises what `add` raises."""
    try:
        return add(clips), [], list(clips)
    except ClipRejected as error:
        copies = {one.source for one in error.rejections if all(reason.code == "duplicate" for reason in one.reasons)}
        left = [clip for clip in clips if clip.source not in copies]
        if len(copies) < len(error.rejections) or not left:
            raise
        words = {one.source: one.reasons[0].words for one in error.rejections}
    done = add(left)
    return done, [{"source": source, "words": words[source]} for source in sorted(copies)], left
