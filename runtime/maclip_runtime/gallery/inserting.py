"""What an enrolment and an import do within one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

from maclip_runtime.gallery.naming import NAMES, KnownNames
from maclip_runtime.gallery.rows import NEGATIVE, ClassLimit, EnrolledClip
from maclip_runtime.gallery.storing import storable_limit

Insert = Callable[[sqlite3.Connection, EnrolledClip], int]  # adds a row and returns its number


class Importing:
    """Adds clips and limits within the transaction of `Gallery.importing`."""

    def __init__(
        self, connection: sqlite3.Connection, insert: Callable[[sqlite3.Connection, EnrolledClip], int]
    ) -> None:
        self._insert, self._connection = insert, connection
        self._names = KnownNames(connection.execute(NAMES))
        self._before = {row[0] for row in connection.execute("SELECT DISTINCT class FROM clips")}

    def spelled(self, clip: EnrolledClip) -> EnrolledClip:
        """The clip under its class's name as the gallery spells it. Raises `name-invalid`."""
        return self._names.spelled(clip)

    def changes(self, class_name: str) -> bool:
        """Whether a clip of the class changes the answers that the gallery gave before the import.

        Negatives can lower the limits of all classes.
        """
        return class_name in self._before or (class_name == NEGATIVE and bool(self._before))

    def clip(self, clip: EnrolledClip) -> bool:
        """Add a `spelled` clip, unless its class has it; whether it was added.

        Its prototype is made when it is needed.
        """
        if same_frames(self._connection, clip) is not None:
            return False
        self._insert(self._connection, clip)
        return True

    def limit(self, limit: ClassLimit, *, new_only: bool = False) -> bool:
        """Add the limit of a class that has none, with `new_only` of a new class; whether it was added."""
        name = self._names.find(limit.class_name)
        if name is None or (new_only and self.changes(name)):
            return False
        limit = replace(limit, class_name=name)
        return insert_limit(
            self._connection,
            limit,
            "OR IGNORE",
            "WHERE EXISTS (SELECT 1 FROM clips WHERE class = ?1)",
        )


def now() -> str:
    """The current time as the gallery stores it: ISO 8601, UTC, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def insert_limit(connection: sqlite3.Connection, limit: ClassLimit, clash: str = "", where: str = "") -> bool:
    """Insert one row of `limits`, within the caller's transaction; whether it was inserted."""
    statement = f"INSERT {clash} INTO limits SELECT ?1, ?2, ?3, ?4, ?5, ?6 {where}"
    return connection.execute(statement, storable_limit(limit)).rowcount > 0


def same_frames(connection: sqlite3.Connection, clip: EnrolledClip) -> str | None:
    """The source of a clip with the same frames in the same class; None where there is none."""
    found = connection.execute(
        "SELECT source FROM clips WHERE class IS ? AND digest = ?", (clip.class_name or None, clip.digest)
    ).fetchone()
    return str(found[0]) if found else None
