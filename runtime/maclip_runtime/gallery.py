"""The gallery: enrolled clips in one SQLite file that is, at any moment, as before an enrolment or as after."""

from __future__ import annotations

import difflib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from maclip_runtime.decisions import UNKNOWN
from maclip_runtime.errors import MaclipError
from maclip_runtime.frames import Floats
from maclip_runtime.schema import connect, plain_errors


@dataclass(frozen=True)
class EnrolledClip:
    """One enrolled clip: `features` and `query` float32 [T, D'], `text` float32 [D'] or None.

    `features` are those of the support branch, `query` of the query branch. `source` has no credentials.
    """

    class_name: str
    text_name: str | None
    text: Floats | None
    features: Floats
    query: Floats
    digest: str
    source: str
    duration_s: float
    quality: dict[str, float]
    thumbnail: bytes = field(repr=False)
    enrolled_at: str = ""
    id: int = 0


@dataclass(frozen=True)
class ClassInfo:
    """One class of the gallery: how many clips, the text name used with it, their median duration in seconds."""

    name: str
    clips: int
    text_name: str | None
    duration_s: float
    enrolled_at: str


class Gallery:
    """One gallery file. It is created by the first enrolment, not by opening or reading.

    `contract` is the bundle's: a gallery made under another one is refused with `contract-mismatch`; None
    asks for no check (listing needs no bundle). Safe to use from several threads and several programs.
    """

    def __init__(self, path: str | PathLike[str], contract: str | None = None) -> None:
        self.path = Path(path)
        self._contract = contract
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._reader()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection = None

    @property
    def generation(self) -> int:
        """Grows with every change by any program; 0 for a gallery that does not exist yet."""
        return int(self._meta("generation") or 0)

    @property
    def contract(self) -> str | None:
        """The contract of the bundle that the clips were enrolled with; None for an empty gallery."""
        return self._meta("contract")

    def classes(self) -> list[ClassInfo]:
        """The enrolled classes, in the order in which they were first enrolled."""
        groups: dict[str, list[Any]] = {}
        query = "SELECT class, text_name, duration_s, enrolled_at FROM clips WHERE class NOT NULL ORDER BY id"
        for name, *row in self._rows(query):
            groups.setdefault(name, []).append(row)
        return [
            ClassInfo(
                name,
                len(rows),
                _newest([text_name for text_name, _, _ in rows]),
                float(np.median([duration for _, duration, _ in rows])),
                rows[-1][2],
            )
            for name, rows in groups.items()
        ]

    def clips(self, class_name: str | None = None) -> list[EnrolledClip]:
        """The clips of one class, or of all, oldest first. Raises `class-unknown`."""
        columns = (
            "class, text_name, text, features, query, frames, width, digest, source, duration_s, quality, "
            "thumbnail, enrolled_at, id"
        )
        query = f"SELECT {columns} FROM clips WHERE class NOT NULL AND (?1 IS NULL OR class = ?1) ORDER BY id"
        clips = [_clip(row) for row in self._rows(query, class_name)]
        if class_name is not None and not clips:
            raise self._class_unknown(class_name)
        return clips

    def add(self, clips: Sequence[EnrolledClip], prototypes: Floats, graph: str, force: bool = False) -> None:
        """Enroll clips of one class in one transaction; `prototypes` [clips, T, D'] made by the graph `graph`.

        Raises `clip-duplicate` where a clip is in the class already, unless `force`; `output-unwritable`.
        """
        with self._changing(create=True) as connection:
            self._claim(connection)
            for clip, prototype in zip(clips, prototypes, strict=True):
                if not force:
                    _refuse_duplicate(connection, clip)
                self._insert(connection, clip, prototype, graph)

    def remove(self, class_name: str, clip_id: int | None = None) -> int:
        """Remove a class, or one clip of it; how many clips went. Raises `class-unknown`, `clip-unknown`."""
        with self._changing() as connection:
            self._require(connection, class_name)
            gone = connection.execute(
                "DELETE FROM clips WHERE class = ?1 AND (?2 IS NULL OR id = ?2)", (class_name, clip_id)
            ).rowcount
            if not gone:
                raise MaclipError(
                    "clip-unknown",
                    f"{class_name!r} has no clip {clip_id}.",
                    "See its clips with `maclip-run gallery show`.",
                )
        return gone

    def rename(self, old: str, new: str) -> None:
        """Rename a class; its text stays. Raises `class-unknown`, `name-invalid`, `class-exists`."""
        new = valid_name(new)
        with self._changing() as connection:
            self._require(connection, old)
            if connection.execute("SELECT 1 FROM clips WHERE class = ?", (new,)).fetchone():
                raise MaclipError(
                    "class-exists", f"There is a class {new!r} already.", "Choose another name, or remove it first."
                )
            connection.execute("UPDATE clips SET class = ? WHERE class = ?", (new, old))

    def prototypes(self, graph: str) -> dict[int, Floats]:
        """The kept prototypes made by the graph of that digest, float32 [T, D'] by clip id."""
        query = "SELECT clips.id, data, frames, width FROM prototypes JOIN clips ON clips.id = clip WHERE graph = ?"
        return {row[0]: _array(row[1], row[2], row[3]) for row in self._rows(query, graph)}

    def keep_prototypes(self, graph: str, prototypes: dict[int, Floats]) -> None:
        """Keep derived prototypes. Does nothing where the gallery cannot be written: they can be made again."""
        # A clip may have been removed meanwhile.
        self._derive(
            "INSERT OR REPLACE INTO prototypes SELECT id, ?, ? FROM clips WHERE id = ?",
            [(graph, _blob(data), clip) for clip, data in prototypes.items()],
        )

    def threshold(self, name: str, made_for: str) -> tuple[bool, float | None]:
        """Whether a threshold measured for `made_for` is kept, and its value (None: no limit)."""
        rows = self._rows("SELECT value FROM thresholds WHERE name = ? AND made_for = ?", name, made_for)
        return (True, rows[0][0]) if rows else (False, None)

    def keep_threshold(self, name: str, made_for: str, value: float | None) -> None:
        """Keep a derived threshold; like `keep_prototypes`, where the gallery can be written."""
        self._derive("INSERT OR REPLACE INTO thresholds VALUES (?, ?, ?)", [(name, made_for, value)])

    def _reader(self) -> sqlite3.Connection | None:
        if self._connection is None:
            self._connection = connect(self.path, create=False)
            if self._connection:
                self._check_contract(self._connection)
        return self._connection

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock, plain_errors(self.path):
            connection = self._reader()
            return connection.execute(query, values).fetchall() if connection else []

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    @contextmanager
    def _changing(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction that counts as a change; undone as a whole on any error."""
        with self._lock, plain_errors(self.path):
            connection = self._reader()
            if connection is None and create:
                connection = self._connection = connect(self.path, create=True)
            if connection is None:
                raise self._class_unknown(None)
            with _transaction(connection):
                yield connection
                connection.execute(
                    "INSERT INTO meta VALUES ('generation', '1') "
                    "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
                )

    def _derive(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        try:
            with self._lock, plain_errors(self.path):
                connection = self._reader()
                if connection:
                    with _transaction(connection):
                        connection.executemany(statement, rows)
        except MaclipError as error:
            if error.code != "output-unwritable":
                raise

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Bind a new gallery to this bundle's contract; refuse one that is bound to another."""
        self._check_contract(connection)
        if self._contract:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('contract', ?)", (self._contract,))

    def _check_contract(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT value FROM meta WHERE key = 'contract'").fetchone()
        if found and self._contract and found[0] != self._contract:
            raise MaclipError(
                "contract-mismatch",
                f"The gallery {self.path} was made with another model: its features cannot be compared.",
                "Use the bundle it was made with, or enroll the clips again into another gallery.",
            )

    def _insert(self, connection: sqlite3.Connection, clip: EnrolledClip, prototype: Floats, graph: str) -> None:
        row = {
            "class": clip.class_name,
            "text_name": clip.text_name,
            "text": None if clip.text is None else _blob(clip.text),
            "features": _blob(clip.features),
            "query": _blob(clip.query),
            "frames": clip.features.shape[0],
            "width": clip.features.shape[1],
            "digest": clip.digest,
            "source": clip.source,
            "enrolled_at": clip.enrolled_at or datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "duration_s": clip.duration_s,
            "quality": json.dumps(clip.quality),
            "thumbnail": clip.thumbnail,
        }
        places = ", ".join("?" * len(row))
        clip_id = connection.execute(
            f"INSERT INTO clips ({', '.join(row)}) VALUES ({places})", list(row.values())
        ).lastrowid
        connection.execute("INSERT INTO prototypes VALUES (?, ?, ?)", (clip_id, graph, _blob(prototype)))

    def _require(self, connection: sqlite3.Connection, class_name: str) -> None:
        if not connection.execute("SELECT 1 FROM clips WHERE class = ?", (class_name,)).fetchone():
            raise self._class_unknown(class_name)

    def _class_unknown(self, class_name: str | None) -> MaclipError:
        names = [info.name for info in self.classes()]
        if class_name is None or not names:
            return MaclipError("gallery-empty", f"The gallery {self.path} has no classes.", "Enroll a clip first.")
        nearest = difflib.get_close_matches(class_name, names, cutoff=0.4) or names[:5]
        return MaclipError(
            "class-unknown",
            f"The gallery has no class {class_name!r}; nearest: {', '.join(map(repr, nearest))}.",
            "See them with `maclip-run gallery list`.",
        )


def valid_name(name: str) -> str:
    """A class name without stray spaces. Raises `name-invalid`: empty, unprintable, or "unknown"."""
    name = " ".join(name.split())
    if not name or not name.isprintable() or name.casefold() == UNKNOWN:
        raise MaclipError(
            "name-invalid", f"{name!r} cannot name a class.", f"Give printable text other than {UNKNOWN!r}."
        )
    return name


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse_duplicate(connection: sqlite3.Connection, clip: EnrolledClip) -> None:
    found = connection.execute(
        "SELECT source FROM clips WHERE class = ? AND digest = ?", (clip.class_name, clip.digest)
    ).fetchone()
    if found:
        raise MaclipError(
            "clip-duplicate",
            f"{clip.source} shows the same frames as {found[0]}, which {clip.class_name!r} has already.",
            "Enroll another clip; --force enrolls it all the same.",
        )


def _clip(row: Sequence[Any]) -> EnrolledClip:
    name, text_name, text, features, query, frames, width, digest, source, duration, quality, *rest = row
    thumbnail, enrolled_at, clip_id = rest
    return EnrolledClip(
        name,
        text_name,
        None if text is None else np.frombuffer(text, np.float32),
        _array(features, frames, width),
        _array(query, frames, width),
        digest,
        source,
        duration,
        json.loads(quality),
        thumbnail,
        enrolled_at,
        clip_id,
    )


def _newest(names: Sequence[str | None]) -> str | None:
    return next((name for name in reversed(names) if name is not None), None)


def _blob(array: Floats) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()


def _array(blob: bytes, frames: int, width: int) -> Floats:
    return np.frombuffer(blob, "<f4").astype(np.float32).reshape(frames, width)
