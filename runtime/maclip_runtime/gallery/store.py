"""The gallery: enrolled clips, negatives and calibrated limits; each change is one transaction."""

from __future__ import annotations

import difflib
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.editing import move_clips, restore_clips
from maclip_runtime.gallery.errors import empty
from maclip_runtime.gallery.file import GalleryFile
from maclip_runtime.gallery.inserting import Importing, insert_limit, now, same_frames
from maclip_runtime.gallery.naming import NAMES, KnownNames, valid_name
from maclip_runtime.gallery.rows import (
    CLIP_COLUMNS,
    LIMIT_COLUMNS,
    MEMBER_COLUMNS,
    NEGATIVE,
    ClassInfo,
    ClassLimit,
    EnrolledClip,
    Member,
    array_from,
    blob,
    clip_from,
    clips_key,
    limit_from,
    member_from,
    shape_from,
    shown_from,
    vector_from,
)
from maclip_runtime.gallery.storing import storable, storable_array
from maclip_runtime.reading.frames import Floats
from maclip_runtime.reading.quality import ClipRejected, Reason, Rejection


class Gallery(GalleryFile):
    """One gallery file: classes of enrolled clips, negatives, calibrated limits. `GalleryFile` opens it."""

    def classes(self) -> list[ClassInfo]:
        """The enrolled classes, in the order in which they were first enrolled."""
        groups: dict[str, list[Member]] = {}
        for member in self.members():
            groups.setdefault(member.class_name, []).append(member)
        limits = self.limits()
        found = []
        for name, members in groups.items():
            limit = limits.get(name)
            found.append(
                ClassInfo(
                    name,
                    len(members),
                    next((member.text_name for member in reversed(members) if member.text_name is not None), None),
                    float(np.median([member.duration_s for member in members])),
                    members[-1].enrolled_at,
                    limit.value if limit else None,
                    limit is not None and limit.clips != clips_key(members),
                )
            )
        return found

    def members(self) -> list[Member]:
        """The clips of all classes without their arrays and pictures, oldest first."""
        query = f"SELECT {MEMBER_COLUMNS} FROM clips WHERE class NOT NULL ORDER BY id"
        return self._made(member_from, self._rows(query))

    def texts(self, ids: Sequence[int]) -> dict[int, Floats]:
        """The text features, float32 [D'], by clip id; clips without text are left out."""
        ids = _ids(ids)
        query = "SELECT id, text FROM clips WHERE text NOT NULL AND id IN (SELECT value FROM json_each(?))"
        rows = self._rows(query, json.dumps(list(ids)))
        width = max((width for _, width in self.shapes()), default=0)  # without reading the clips' large rows
        return dict(self._made(lambda row: (row[0], vector_from(row[1], width)), rows))

    def clips(self, class_name: str | None = None, *, ids: Sequence[int] | None = None) -> list[EnrolledClip]:
        """The clips of the classes, oldest first. Raises `class-unknown`.

        class_name: only this class's; None for all classes.
        ids: only these.
        """
        if class_name is not None:
            wanted = values.text(class_name, "A class's name", code="class-unknown")
            class_name = KnownNames(self._rows(NAMES)).find(wanted)
            if class_name is None:
                raise self._class_unknown(wanted)
        if ids is not None:
            ids = _ids(ids)
        query = (
            f"SELECT {CLIP_COLUMNS} FROM clips WHERE class NOT NULL AND (?1 IS NULL OR class = ?1) "
            "AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2))) ORDER BY id"
        )
        rows = self._rows(query, class_name, None if ids is None else json.dumps(list(ids)))
        if class_name is not None and ids is None and not rows:  # removed meanwhile
            raise self._class_unknown(class_name)
        return self._made(clip_from, rows)

    def spelling(self, name: str) -> str:
        """A class's name as the gallery spells it; `name` itself if there is no such class. See `normal_form`."""
        name = values.text(name, "A class's name", code="name-invalid")
        return KnownNames(self._rows(NAMES)).find(name) or name

    def negatives(self) -> list[EnrolledClip]:
        """The negatives, oldest first."""
        query = f"SELECT {CLIP_COLUMNS} FROM clips WHERE class IS NULL ORDER BY id"
        return self._made(clip_from, self._rows(query))

    def shown_before(self, digest: str) -> tuple[str, str] | None:
        """Class (`NEGATIVE` for a negative) and source of a clip with the same frames; None where there is none."""
        digest = values.text(digest, "digest")
        rows = self._rows("SELECT class, source FROM clips WHERE digest = ? LIMIT 1", digest)
        return next(iter(self._made(shown_from, rows)), None)

    def add(self, clips: Sequence[EnrolledClip], prototypes: Floats, graph: str, *, force: bool = False) -> list[int]:
        """Enroll clips in one transaction; returns their numbers.

        clips: of classes, or negatives.
        prototypes: float32 [clips, T, D']; those of negatives are not stored.
        graph: digest of the graph that made the prototypes.
        force: also where a clip with the same frames is in its class already.

        Raises `clip-rejected`, `output-unwritable`.
        """
        clips = [values.instance(one, EnrolledClip, "clips") for one in values.items(clips, "clips", "a list of clips")]
        prototypes = storable_array(prototypes, "prototypes", 3)
        graph, force = values.text(graph, "graph"), values.flag(force, "force")
        if len(prototypes) != len(clips):
            raise values.refused(prototypes, "prototypes", f"one for each of {len(clips)} clips")
        with self._changing(create=True) as connection:
            self._claim(connection, self._contract)
            names = KnownNames(connection.execute(NAMES))
            ids = []
            for clip, prototype in zip(map(names.spelled, clips), prototypes, strict=True):
                if not force:
                    _refuse_duplicate(connection, clip)
                clip_id = self._insert(connection, clip)
                ids.append(clip_id)
                if clip.class_name != NEGATIVE:
                    connection.execute("INSERT INTO prototypes VALUES (?, ?, ?)", (clip_id, graph, blob(prototype)))
        return ids

    def move(self, ids: Sequence[int], class_name: str) -> int:
        """Move clips to a class, which need not exist yet; returns how many.

        A clip keeps its text only where the class has the same or is new: else it goes on without one, because what was
        made with another name would spoil the class. Raises `clip-unknown`, `name-invalid`, `gallery-empty`.
        """
        ids, class_name = _ids(ids), valid_name(class_name)
        with self._changing() as connection:
            count = move_clips(connection, ids, class_name)
            if count != len(set(ids)) or not ids:
                raise MaclipError(
                    "clip-unknown",
                    f"Of {len(ids)} clips that are to be moved the classes have {count}.",
                    "See the clips with `maclip-run gallery show`.",
                )
        return count

    def restore(self, clips: Sequence[EnrolledClip], *, gone: Sequence[int] = (), limits: Sequence[ClassLimit]) -> None:
        """Undo changes in one transaction: clips return under their numbers as they were, others go.

        clips: as they were, negatives too.
        gone: numbers of clips that were added.
        limits: all calibrated limits as they were.
        """
        clips = [values.instance(one, EnrolledClip, "clips") for one in values.items(clips, "clips", "a list of clips")]
        with self._changing(create=True) as connection:
            self._claim(connection, self._contract)
            restore_clips(connection, self._insert, clips, _ids(gone), limits)

    def remove(self, class_name: str, *, clip_id: int | None = None) -> int:
        """Remove a class, or only the clip `clip_id` of it; returns how many clips were removed.

        Raises `class-unknown`, `clip-unknown`, `gallery-empty`.
        """
        clip_id = _clip_id(clip_id)
        with self._changing() as connection:
            class_name = self._require(connection, class_name)
            gone = connection.execute(
                "DELETE FROM clips WHERE class = ?1 AND (?2 IS NULL OR id = ?2)", (class_name, clip_id)
            ).rowcount
            if not gone:
                raise _clip_unknown(f"{class_name!r} has", clip_id)
            emptied = "DELETE FROM limits WHERE class = ?1 AND NOT EXISTS (SELECT 1 FROM clips WHERE class = ?1)"
            connection.execute(emptied, (class_name,))
        return gone

    def remove_negatives(self, *, clip_id: int | None = None) -> int:
        """Remove the negatives, or only `clip_id`; returns how many. Raises `clip-unknown`, `gallery-empty`."""
        clip_id = _clip_id(clip_id)
        with self._changing() as connection:
            statement = "DELETE FROM clips WHERE class IS NULL AND (?1 IS NULL OR id = ?1)"
            gone = connection.execute(statement, (clip_id,)).rowcount
            if not gone:
                raise _clip_unknown("The gallery's negatives have", clip_id)
        return gone

    def rename(self, old: str, new: str) -> None:
        """Rename a class; its text and its limit stay. Raises `class-unknown`, `class-exists`, `name-invalid`."""
        new = valid_name(new)
        with self._changing() as connection:
            old = self._require(connection, old)
            there = KnownNames(connection.execute(NAMES)).find(new)
            if there == new or there not in (None, old):  # another spelling of its own name is no other class
                raise MaclipError(
                    "class-exists", f"There is a class {there!r} already.", "Choose another name, or remove it first."
                )
            connection.execute("UPDATE clips SET class = ? WHERE class = ?", (new, old))
            connection.execute("UPDATE limits SET class = ? WHERE class = ?", (new, old))

    def limits(self) -> dict[str, ClassLimit]:
        """The calibrated limits by class, including those that no longer apply."""
        limits = self._made(limit_from, self._rows(f"SELECT {LIMIT_COLUMNS} FROM limits"))
        return {limit.class_name: limit for limit in limits}

    def keep_limits(self, limits: Sequence[ClassLimit]) -> None:
        """Replace all calibrated limits. Raises `gallery-empty`, `output-unwritable`."""
        limits = [
            values.instance(one, ClassLimit, "limits") for one in values.items(limits, "limits", "a list of limits")
        ]
        with self._changing() as connection:
            connection.execute("DELETE FROM limits")
            for limit in limits:
                insert_limit(connection, limit)

    def shapes(self) -> set[tuple[int, int]]:
        """The shapes (T, D') of the stored features: a single one, in a gallery that maclip wrote."""
        return set(self._made(shape_from, self._rows("SELECT DISTINCT frames, width FROM clips")))

    @contextmanager
    def importing(self, contract: str | None, shape: tuple[int, int]) -> Iterator[Importing]:
        """A transaction that adds clips of another gallery.

        contract: of the bundle with which they were enrolled.
        shape: (T, D') of their features.

        Raises `contract-mismatch`, `import-corrupt`, `output-unwritable`.
        """
        with self._changing(create=True) as connection:
            self._claim(connection, contract)
            if self.shapes() - {shape}:
                raise MaclipError(
                    "import-corrupt",
                    f"Its features are {shape[0]} x {shape[1]}; those of {self.path} are not.",
                    "Give a file that was exported from a gallery of the same bundle.",
                )
            yield Importing(connection, self._insert)

    def prototypes(self, graph: str) -> dict[int, Floats]:
        """The stored prototypes of the graph of this digest, float32 [T, D'] by clip id, without damaged ones."""
        graph = values.text(graph, "graph")
        shapes = self.shapes()
        if len(shapes) != 1:
            return {}
        (shape,) = shapes
        rows = self._rows("SELECT clip, data FROM prototypes WHERE graph = ?", graph)
        found = {}
        for clip, data in rows:
            with suppress(ValueError, TypeError):  # it is made again
                found[clip] = array_from(data, *shape)
        return found

    def keep_prototypes(self, version: tuple[int, int], graph: str, prototypes: dict[int, Floats]) -> None:
        """Store prototypes, which can be made again.

        version: of the gallery from which they were made; nothing is stored where the file was replaced since.
        graph: digest of the graph that made them.
        prototypes: float32 [T, D'] by clip id.
        """
        graph, prototypes = values.text(graph, "graph"), values.instance(prototypes, dict, "prototypes")
        made = [(graph, blob(storable_array(data, "prototypes", 2)), clip) for clip, data in prototypes.items()]
        # Selected by id, because a clip may have been removed meanwhile.
        self._derive(
            version,
            "INSERT OR REPLACE INTO prototypes SELECT id, ?, ? FROM clips WHERE id = ?",
            made,
        )

    def measured_limit(self, made_for: str) -> tuple[bool, float | None]:
        """Whether a limit measured for `made_for` is stored, and its value (None: no limit)."""
        made_for = values.text(made_for, "made_for")
        rows = self._rows("SELECT value FROM measured_limit WHERE made_for = ?", made_for)
        value = rows[0][0] if rows else None
        if not rows or not (value is None or (type(value) is float and math.isfinite(value))):
            return False, None  # a damaged one is measured again
        return True, value

    def keep_measured_limit(self, version: tuple[int, int], made_for: str, value: float | None) -> None:
        """Store the limit measured for `made_for` from the gallery at `version`, like `keep_prototypes`."""
        made_for = values.text(made_for, "made_for")
        value = None if value is None else values.number(value, "value")
        self._derive(version, "INSERT OR REPLACE INTO measured_limit VALUES (1, ?, ?)", [(made_for, value)])

    def _insert(self, connection: sqlite3.Connection, clip: EnrolledClip, clip_id: int | None = None) -> int:
        row = storable(clip)
        row["enrolled_at"] = row["enrolled_at"] or now()
        if clip_id is not None:
            row["id"] = clip_id
        places = ", ".join("?" * len(row))
        done = connection.execute(f"INSERT INTO clips ({', '.join(row)}) VALUES ({places})", list(row.values()))
        assert done.lastrowid is not None
        return done.lastrowid

    def _require(self, connection: sqlite3.Connection, class_name: str) -> str:
        """The class as the gallery spells it. Raises `class-unknown`."""
        known = KnownNames(connection.execute(NAMES)).find(
            values.text(class_name, "A class's name", code="class-unknown")
        )
        if known is None:
            raise self._class_unknown(class_name)
        return known

    def _class_unknown(self, class_name: str) -> MaclipError:
        names = list(dict.fromkeys(member.class_name for member in self.members()))
        if not names:
            return empty(self.path)
        nearest = difflib.get_close_matches(class_name, names, cutoff=0.4) or names[:5]
        return MaclipError(
            "class-unknown",
            f"The gallery has no class {class_name!r}; the nearest are {', '.join(map(repr, nearest))}.",
            "See them with `maclip-run gallery list`.",
        )


def _ids(ids: object) -> list[int]:
    return [values.whole(one, "A clip's number") for one in values.items(ids, "ids", "a list of numbers")]


def _clip_id(clip_id: object) -> int | None:
    return None if clip_id is None else values.whole(clip_id, "A clip's number")


def _clip_unknown(whose: str, clip_id: int | None) -> MaclipError:
    which = "no clip" if clip_id is None else f"no clip {clip_id}"
    return MaclipError("clip-unknown", f"{whose} {which}.", "See the clips with `maclip-run gallery show`.")


def _refuse_duplicate(connection: sqlite3.Connection, clip: EnrolledClip) -> None:
    """Raises `clip-rejected`. Within the transaction: another program may have enrolled the clip a moment ago."""
    source = same_frames(connection, clip)
    if source is not None:
        raise ClipRejected([Rejection(clip.source, (Reason("duplicate", f"the same frames as {source}"),))])
