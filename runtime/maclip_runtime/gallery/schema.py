"""The gallery's tables, and how its file is opened: created once, checked always, errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.errors import MaclipError

APPLICATION_ID = 0x6D61636C  # "macl"
SCHEMA_VERSION = 2
BUSY_SECONDS = 30.0  # how long to wait for another program's enrolment
BUSY = "locked"  # in SQLite's words for what took longer

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE clips (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    class TEXT,                  -- NULL: a negative, a clip of none of the classes
    text_name TEXT,              -- the action's name as its text feature was made from
    text BLOB,                   -- float32 [D'], NULL: enrolled without text
    features BLOB NOT NULL,      -- float32 [T, D'], support branch (with the text where there is one)
    query BLOB NOT NULL,         -- float32 [T, D'], query branch: what limits are measured with
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
CREATE TABLE measured_limit (    -- derived likewise: one row, for the classes without a calibrated limit
    id INTEGER PRIMARY KEY CHECK (id = 1),
    made_for TEXT NOT NULL,      -- what it was measured with: generation, the bundle's limit and graphs
    value REAL                   -- NULL: no limit
);
"""
# From schema 1 to 2 (`forced`: JSON list of the reasons that --force overrode). A new gallery takes the same way.
# The index answers what a list of classes asks without a step into the clips' large rows.
SECOND = """
ALTER TABLE clips ADD COLUMN forced TEXT NOT NULL DEFAULT '[]';
DROP INDEX clips_by_class;
CREATE INDEX clips_by_class ON clips (class, id, text_name, digest, duration_s, enrolled_at, frames, width);
CREATE INDEX clips_by_digest ON clips (digest);
CREATE TABLE limits (            -- calibrated: the distance above which a class's answer is "unknown"
    class TEXT PRIMARY KEY,
    value REAL NOT NULL,
    clips TEXT NOT NULL,         -- key of the clips it was measured with; with others it does not count
    graphs TEXT NOT NULL,        -- digests of the graphs likewise
    calibrated_at TEXT NOT NULL, -- ISO 8601, UTC
    facts TEXT NOT NULL          -- JSON object: the calibration's figures
) WITHOUT ROWID;
"""


# What SQLite calls an operation's failure, but only a damaged file brings.
DAMAGE = (
    "no such ",
    "Could not decode ",
    "malformed ",
    "unsupported file format",
    "table ",
    "near ",
    "duplicate column",
)
OPENING_TRIES = 10

Stamp = tuple[int, ...]  # of a file's state; () where there is none


@dataclass(frozen=True)
class Opened:
    """A connection, and the state of the file that it is of: another `stamp_of` means that it changed elsewhere."""

    connection: sqlite3.Connection
    stamp: Stamp


def connect(path: Path, create: bool, patience: float = BUSY_SECONDS) -> Opened | None:
    """Open the gallery's file, autocommit, checked; None where there is none and `create` is false.

    `patience`: seconds to wait for other programs' changes, at each step from then on.
    A file of schema 1 is brought to schema 2 in one transaction; where it cannot be written, in memory. Raises
    `gallery-corrupt`, `gallery-schema`, `output-unwritable`.
    """
    with plain_errors(path):
        for _ in range(OPENING_TRIES):
            if create:
                # Only where there is none: to close a file gives up all locks that this program has on it.
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o644))
            before = stamp_of(path)
            if not before:
                return None
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
                raise unwritable(path, "it is no file")
            connection = _open(path, create, patience)
            try:
                connection = _prepared(path, connection, create, patience)
                after = stamp_of(path)
            except BaseException:
                connection.close()
                raise
            if not create and _is_new(connection):
                connection.close()
                return None
            if after[:2] == before[:2]:
                return Opened(connection, after)
            connection.close()  # another file was put in its place meanwhile
    raise unwritable(path, "it is replaced again and again")


def stamp_of(path: Path) -> Stamp:
    """Which file lies at `path` and when it was last changed; () where there is none. Raises OSError."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def wait(connection: sqlite3.Connection, patience: float) -> None:
    """Let it wait so many seconds for other programs' changes."""
    connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of what is executed within, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's and the system's errors into `output-unwritable` and `gallery-corrupt`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise (corrupt if str(error).startswith(DAMAGE) else unwritable)(path, str(error)) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # a damaged name in SQLite's own message
        raise corrupt(path, str(error)) from error
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from error


def corrupt(path: Path, why: str) -> MaclipError:
    """The error `gallery-corrupt`."""
    return MaclipError(
        "gallery-corrupt",
        f"The gallery {path} cannot be used ({why}).",
        "Give another --gallery, or restore this one from a copy.",
    )


def unwritable(path: Path, why: str) -> MaclipError:
    """The error `output-unwritable` for a gallery."""
    return MaclipError(
        "output-unwritable",
        f"The gallery {path} cannot be opened or written ({why}).",
        "Give a file in a folder that exists and that you may write, on a disk with room.",
    )


def _open(path: Path, create: bool, patience: float) -> sqlite3.Connection:
    """A connection that threads may share under the gallery's own lock."""
    connection = sqlite3.connect(path, patience, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        # While it is changed, and after a change that was cut off half way, the file alone is not to be read.
        if create or BUSY in str(error) or any(stamp_of(path.with_name(path.name + "-journal"))[3:]):
            raise
    except BaseException:
        connection.close()
        raise
    # Galleries of before had a write-ahead log, which needs a folder that can be written; the file alone can be read.
    address = path.as_uri() + "?mode=ro&immutable=1"
    return sqlite3.connect(address, isolation_level=None, check_same_thread=False, uri=True)


def _prepared(path: Path, connection: sqlite3.Connection, create: bool, patience: float) -> sqlite3.Connection:
    """A connection to the gallery in this schema: the same, or one to a copy in memory, with the first one closed."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_spill = OFF")  # until it is committed, a large import lets others read
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        _leave_log(connection)
        wait(connection, patience)
    if _is_new(connection):
        if create:
            _create(connection)
        return connection
    return _migrated(connection) if _version(path, connection) == 1 else connection


def _leave_log(connection: sqlite3.Connection) -> None:
    """Bring a gallery of before to a plain journal, once nobody else has it open.

    With a write-ahead log a copy of the file alone missed what was enrolled last, and SQLite applied the log of one
    gallery to another that was put in its place.
    """
    wait(connection, 0)
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = DELETE")


def _is_new(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and connection.execute("PRAGMA application_id").fetchone()[0] == 0


def _create(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if _is_new(connection):  # another program may have been first
            _execute(connection, TABLES)
            _execute(connection, SECOND)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migrated(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A connection to the gallery as schema 2: the same, or a copy in memory of one that cannot be written.

    A full or read-only disk must not stop recognition.
    """
    try:
        _migrate(connection)
        return connection
    except sqlite3.OperationalError as error:
        if BUSY in str(error):
            raise
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.backup(copy)
    connection.close()
    _migrate(copy)
    copy.execute("PRAGMA query_only = ON")  # an enrolment must not seem to succeed
    return copy


def _migrate(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if connection.execute("PRAGMA user_version").fetchone()[0] == 1:  # another program may have been first
            _execute(connection, SECOND)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    """Statement by statement: `executescript` would end the transaction."""
    for statement in statements.split(";\n"):
        connection.execute(statement)


def _version(path: Path, connection: sqlite3.Connection) -> int:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise MaclipError("gallery-corrupt", f"{path} is a database, but not a gallery.", "Give another --gallery.")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version not in (1, SCHEMA_VERSION):
        raise MaclipError(
            "gallery-schema",
            f"The gallery {path} has schema {version}; this maclip reads schemas 1 and {SCHEMA_VERSION}.",
            "Use the version of maclip that wrote it, or enroll anew into another file.",
        )
    return version
