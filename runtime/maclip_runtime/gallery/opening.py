"""Opening the gallery's file: checked, and certainly the file that lies at the path."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.gallery.errors import translated, unwritable
from maclip_runtime.gallery.schema import check_schema, create_tables, is_new

BUSY_SECONDS = 30.0  # how long to wait for another program's transaction
MAX_OPENING_TRIES = 10

Stamp = tuple[int, ...]  # identity and state of a file; () where there is none


@dataclass(frozen=True)
class Opened:
    """A connection, and the stamp of its file: where `stamp_of` differs, another program has changed or replaced it."""

    connection: sqlite3.Connection
    stamp: Stamp


def connect(path: Path, *, create: bool, wait_s: float = BUSY_SECONDS) -> Opened | None:
    """Open the gallery's file in autocommit mode; None where there is none.

    create: make a file, or the tables of an empty one, instead of returning None.
    wait_s: seconds that each statement waits for another program's transaction.

    Raises `gallery-corrupt`, `gallery-schema`, `output-unwritable`.
    """
    with translated(path):
        for _ in range(MAX_OPENING_TRIES):
            if create:
                # Only where there is none: closing a file gives up all locks that this process holds on it.
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o644))
            before = stamp_of(path)
            if not before:
                return None
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
                raise unwritable(path, "it is not a regular file")
            # Threads share it under the gallery's own lock.
            connection = sqlite3.connect(path, wait_s, isolation_level=None, check_same_thread=False)
            try:
                ready = _prepare(path, connection, create)
                after = stamp_of(path)
            except BaseException:
                connection.close()
                raise
            if ready and after[:2] == before[:2]:
                return Opened(connection, after)
            connection.close()
            if not ready:
                return None
            # Another file was put in its place meanwhile: open that one.
    raise unwritable(path, "it is replaced again and again")


def stamp_of(path: Path) -> Stamp:
    """Which file lies at `path` and when it last changed; () where there is none. Raises OSError."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def set_wait(connection: sqlite3.Connection, wait_s: float) -> None:
    """From now on each statement waits `wait_s` seconds for another program's transaction."""
    connection.execute(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Executes everything within, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _prepare(path: Path, connection: sqlite3.Connection, create: bool) -> bool:
    """Set the connection up and check the file; whether it is a gallery."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_spill = OFF")  # others can read during a large import, up to its commit
    if is_new(connection):
        if not create:
            return False
        with transaction(connection):
            if is_new(connection):  # another program may have been first
                create_tables(connection)
    check_schema(path, connection)
    return True
