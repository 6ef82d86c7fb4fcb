"""Moving clips between classes and undoing changes, within one transaction of the caller's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence

from maclip_runtime.gallery.inserting import insert_limit
from maclip_runtime.gallery.naming import NAMES, KnownNames
from maclip_runtime.gallery.rows import ClassLimit, EnrolledClip

IDS = "(SELECT value FROM json_each(?1))"
AMONG = f"class NOT NULL AND id IN {IDS}"
TEXT_OF_CLASS = "SELECT text_name FROM clips WHERE class = ? AND text_name NOT NULL ORDER BY id DESC LIMIT 1"
LIVING = "WHERE EXISTS (SELECT 1 FROM clips WHERE class = ?1)"


def move_clips(connection: sqlite3.Connection, ids: Sequence[int], class_name: str) -> int:
    """See `Gallery.move`; returns how many of the clips there are, and moves none unless all are there."""
    numbers = json.dumps(list(ids))
    (count,) = connection.execute(f"SELECT count(*) FROM clips WHERE {AMONG}", (numbers,)).fetchone()
    if count != len(set(ids)):
        return int(count)
    known = KnownNames(connection.execute(NAMES)).find(class_name)
    name = known or class_name
    if known is not None:
        text = next(connection.execute(TEXT_OF_CLASS, (name,)), (None,))[0]
        connection.execute(
            f"UPDATE clips SET text = NULL, text_name = NULL, features = query WHERE {AMONG} "
            "AND class != ?2 AND text_name NOT NULL AND text_name IS NOT ?3",
            (numbers, name, text),
        )
    connection.execute(f"DELETE FROM prototypes WHERE clip IN {IDS}", (numbers,))
    connection.execute(f"UPDATE clips SET class = ?2 WHERE {AMONG}", (numbers, name))
    connection.execute("DELETE FROM limits WHERE class NOT IN (SELECT class FROM clips WHERE class NOT NULL)")
    return int(count)


def restore_clips(
    connection: sqlite3.Connection,
    insert: Callable[[sqlite3.Connection, EnrolledClip, int], int],
    clips: Sequence[EnrolledClip],
    gone: Sequence[int],
    limits: Sequence[ClassLimit],
) -> None:
    """See `Gallery.restore`."""
    replaced = json.dumps([*gone, *(clip.id for clip in clips)])
    connection.execute(f"DELETE FROM clips WHERE id IN {IDS}", (replaced,))
    for clip in clips:
        insert(connection, clip, clip.id)
    connection.execute("DELETE FROM limits")
    for limit in limits:
        insert_limit(connection, limit, "OR IGNORE", LIVING)
