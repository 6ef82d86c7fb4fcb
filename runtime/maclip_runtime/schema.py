"""The gallery's tables, and how its file is opened: created once, checked always, errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maclip_runtime.errors import MaclipError

APPLICATION_ID = 0x6D61636C  # "macl"
SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0  # how long to wait for another program's enrolment

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE clips (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    class TEXT,                  -- NULL: a negative, a clip of none of the classes
    text_name TEXT,              -- the vocabulary's name whose text feature goes with it, if any
    text BLOB,                   -- float32 [D']
    features BLOB NOT NULL,      -- float32 [T, D'], support branch (with the text where there is one)
    query BLOB NOT NULL,         -- float32 [T, D'], query branch: what thresholds are measured with
    frames INTEGER NOT NULL,     -- T
    width INTEGER NOT NULL,      -- D'
    digest TEXT NOT NULL,        -- sha256 of the sampled pixels: the same clip twice is noticed
    source TEXT NOT NULL,        -- where it came from, without credentials
    enrolled_at TEXT NOT NULL,   -- ISO 8601, UTC
    duration_s REAL NOT NULL,
    quality TEXT NOT NULL,       -- JSON object of figures
    thumbnail BLOB NOT NULL      -- a small JPEG
);
CREATE INDEX clips_by_class ON clips (class, id);
CREATE TABLE prototypes (        -- derived: may be deleted at any time
    clip INTEGER PRIMARY KEY REFERENCES clips (id) ON DELETE CASCADE,
    graph TEXT NOT NULL,         -- digest of the prototype graph it was made with
    data BLOB NOT NULL           -- float32 [T, D']
);
CREATE TABLE thresholds (        -- derived likewise
    name TEXT PRIMARY KEY,
    made_for TEXT NOT NULL,      -- what it was measured with: generation, prior and graphs
    value REAL
) WITHOUT ROWID;
"""


def connect(path: Path, create: bool) -> sqlite3.Connection | None:
    """Open the gallery's file, autocommit, checked; None where there is none and `create` is false.

    Raises `gallery-corrupt`, `gallery-schema`, `output-unwritable`.
    """
    if not create and not path.exists():
        return None
    if path.is_dir():
        raise unwritable(path, "it is a folder")
    with plain_errors(path):
        connection = _open(path, create)
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
            connection.execute("PRAGMA foreign_keys = ON")
            if _is_new(connection):
                if not create:
                    connection.close()
                    return None
                _create(connection)
            _check(path, connection)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into `output-unwritable` and `gallery-corrupt`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unwritable(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise MaclipError(
            "gallery-corrupt",
            f"{path} is not a readable gallery ({error}).",
            "Give another --gallery, or restore this one from a copy.",
        ) from error


def unwritable(path: Path, why: str) -> MaclipError:
    """The error `output-unwritable` for a gallery."""
    return MaclipError(
        "output-unwritable",
        f"The gallery {path} cannot be opened or written ({why}).",
        "Give a file in a folder that exists and that you may write.",
    )


def _open(path: Path, create: bool) -> sqlite3.Connection:
    # Shared between threads under the gallery's own lock.
    try:
        connection = sqlite3.connect(path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError:
        if create:
            raise
    # A write-ahead log needs a writable folder; without one the file can still be read as it stands.
    address = path.absolute().as_uri() + "?mode=ro&immutable=1"
    return sqlite3.connect(address, isolation_level=None, check_same_thread=False, uri=True)


def _is_new(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and connection.execute("PRAGMA application_id").fetchone()[0] == 0


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_new(connection):  # another program may have been first
            for statement in TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _check(path: Path, connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise MaclipError("gallery-corrupt", f"{path} is a database, but not a gallery.", "Give another --gallery.")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise MaclipError(
            "gallery-schema",
            f"The gallery {path} has schema {version}; this maclip reads schema {SCHEMA_VERSION}.",
            "Use the version of maclip that wrote it, or enroll anew into another file.",
        )
