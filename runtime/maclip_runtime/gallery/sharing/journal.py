"""When each clip came and went, noted in the gallery's file by SQLite itself, whichever program changes the gallery.

The notes begin when a gallery is first published or follows another: what happened before is of no interest to others.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from maclip_runtime.gallery.inserting import Importing
from maclip_runtime.gallery.rows import CLIP_COLUMNS, NEGATIVE, EnrolledClip, clip_from
from maclip_runtime.gallery.sharing.index import TIME, ClipId, Item, SharedIndex, fingerprint
from maclip_runtime.gallery.store import Gallery

NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
# A change is later than what was known of the clip, also where this machine's clock is behind the others'.
NOTE = """
    INSERT INTO shared_changes VALUES (coalesce({row}.class, ''), {row}.digest, {removed}, {now})
    ON CONFLICT (class, digest) DO UPDATE SET removed = excluded.removed,
    at = max(excluded.at, coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', at, '+0.001 seconds'), excluded.at));
"""
ADDED = NOTE.format(row="NEW", removed=0, now=NOW)
REMOVED = NOTE.format(row="OLD", removed=1, now=NOW)
GONE = "NOT EXISTS (SELECT 1 FROM clips WHERE class IS OLD.class AND digest = OLD.digest)"
JOURNAL = (
    """
    CREATE TABLE IF NOT EXISTS shared_changes (
        class TEXT NOT NULL,      -- '': a negative
        digest TEXT NOT NULL,
        removed INTEGER NOT NULL, -- 1: it was removed, 0: it is there
        at TEXT NOT NULL,         -- ISO 8601, UTC, milliseconds
        PRIMARY KEY (class, digest)
    ) WITHOUT ROWID
    """,
    f"CREATE TRIGGER IF NOT EXISTS shared_added AFTER INSERT ON clips BEGIN {ADDED} END",
    f"CREATE TRIGGER IF NOT EXISTS shared_removed AFTER DELETE ON clips WHEN {GONE} BEGIN {REMOVED} END",
    f"CREATE TRIGGER IF NOT EXISTS shared_left AFTER UPDATE OF class ON clips WHEN {GONE} BEGIN {REMOVED} END",
    "CREATE TRIGGER IF NOT EXISTS shared_joined AFTER UPDATE OF class ON clips "
    f"WHEN OLD.class IS NOT NEW.class BEGIN {ADDED} END",
)
# Clips of before the notes are as old as they say.
FIRST_NOTES = """
    SELECT coalesce(class, ''), digest, 0,
        coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', max(enrolled_at)), '1970-01-01T00:00:00.000Z')
    FROM clips GROUP BY class, digest
"""
NOTES = "SELECT class, digest, removed, at FROM shared_changes"
SAVE = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
SET = "INSERT OR REPLACE INTO shared_changes VALUES (?, ?, ?, ?)"


@dataclass(frozen=True)
class Seen:
    """The newest index of a store that this gallery knows: its serial and its sha256.

    tag: the store's tag of it; None where it was only published to, so that others' clips may lack here.
    """

    serial: int = 0
    sha256: str = ""
    tag: str | None = None


class Incomplete(Exception):
    """A clip is wanted that was not fetched: the gallery has changed meanwhile."""


class SharedGallery(Gallery):
    """A gallery that notes when its clips come and go. The notes begin with `begin`."""

    def begin(self) -> None:
        """Begin the notes of a gallery, if they have not begun. Raises `gallery-empty`."""
        if not self._begun:
            with self._changing() as connection:
                _begin(connection)

    @property
    def _begun(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = 'shared_joined'"))

    @property
    def expected_contract(self) -> str | None:
        """The contract that another's clips must have: of these clips, else of the bundle; None for any."""
        return self.contract or self._contract

    def items(self) -> dict[ClipId, Item]:
        """The last that happened to each clip here."""
        return _items(self._made(_note, self._rows(NOTES if self._begun else FIRST_NOTES)))

    def newest(self, item: Item) -> EnrolledClip | None:
        """The clip of an item, the newest one of several; None where it has gone."""
        query = f"SELECT {CLIP_COLUMNS} FROM clips WHERE class IS ? AND digest = ? ORDER BY id DESC LIMIT 1"
        found = self._made(clip_from, self._rows(query, item.class_name or None, item.digest))
        return found[0] if found else None

    def seen(self, where: str) -> Seen:
        """What was last used of a store."""
        text = self._meta(_key(where))
        with suppress(ValueError, TypeError):
            return Seen(**json.loads(text)) if text else Seen()
        return Seen()

    def saw(self, where: str, index: SharedIndex, tag: str | None = None) -> None:
        """Remember the newest index of a store; the gallery counts as unchanged.

        tag: the store's tag of it, if all of it has been taken over.
        """
        self._derive(self.version, SAVE, [_memory(where, index, tag)])

    def apply(
        self,
        where: str,
        index: SharedIndex,
        tag: str | None,
        clip_of: Callable[[Item], EnrolledClip | None],
    ) -> tuple[list[Item], list[Item]]:
        """Take over an index in one transaction; returns what was added and what was removed.

        clip_of: gives the clip of an item that is to be added; None where it was not fetched.

        What happened here since the clips were fetched counts too, by its time. Raises `Incomplete` where a clip is
        wanted now that was not fetched.
        """
        added: list[Item] = []
        removed: list[Item] = []
        with self._changing(create=True) as connection:
            self._claim(connection, index.contract)
            _begin(connection)
            here = _items(self._made(_note, connection.execute(NOTES)))
            importing = Importing(connection, self._insert)
            for item in wanted(index, here):
                known = here.get(item.id)
                spelled = item.class_name if known is None else known.class_name
                if known is not None and not known.removed:
                    _delete(connection, spelled, item.digest)
                    removed += [item] if item.removed else []
                if not item.removed:
                    fetched = clip_of(item)
                    if fetched is None:
                        raise Incomplete
                    clip = importing.spelled(fetched)
                    spelled = clip.class_name
                    importing.clip(clip)
                    added.append(item)
                connection.execute(SET, (spelled, item.digest, int(item.removed), item.at))
            connection.execute("DELETE FROM limits WHERE class NOT IN (SELECT class FROM clips WHERE class NOT NULL)")
            connection.execute(SAVE, _memory(where, index, tag))
        return added, removed


def wanted(index: SharedIndex, here: dict[ClipId, Item]) -> list[Item]:
    """The items of an index that are later than what happened here, the oldest first."""
    later = [item for item in index.items.values() if item.later_than(here.get(item.id))]
    return sorted(later, key=lambda item: item.at)


def _begin(connection: sqlite3.Connection) -> None:
    for statement in JOURNAL:
        connection.execute(statement)
    connection.execute(f"INSERT OR IGNORE INTO shared_changes {FIRST_NOTES}")


def _items(notes: Iterable[Item]) -> dict[ClipId, Item]:
    """By clip: it is there where it is under any spelling of its class."""
    groups: dict[ClipId, list[Item]] = {}
    for note in notes:
        groups.setdefault(note.id, []).append(note)
    found = {}
    for clip_id, spellings in groups.items():
        there = [one for one in spellings if not one.removed]
        last = max(one.at for one in spellings)
        one = (there or spellings)[0]
        found[clip_id] = Item(one.class_name, one.digest, last, not there)
    return found


def _note(row: Sequence[Any]) -> Item:
    name, digest, removed, at = row
    if not (isinstance(name, str) and isinstance(digest, str) and isinstance(at, str) and TIME.fullmatch(at)):
        raise ValueError("a note of a change is damaged")
    return Item(name, digest, at, removed != 0)


def _delete(connection: sqlite3.Connection, class_name: str, digest: str) -> None:
    name = None if class_name == NEGATIVE else class_name
    connection.execute("DELETE FROM clips WHERE class IS ? AND digest = ?", (name, digest))


def _memory(where: str, index: SharedIndex, tag: str | None) -> tuple[str, str]:
    """The row of `meta` that remembers an index."""
    return _key(where), json.dumps({"serial": index.serial, "sha256": fingerprint(index), "tag": tag})


def _key(where: str) -> str:
    return f"shared {hashlib.sha256(where.encode()).hexdigest()[:32]}"
