"""The gallery's file under one lock: reading it, and changing it in whole transactions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.errors import busy, corrupt, empty, translated, unwritable
from maclip_runtime.gallery.opening import BUSY_SECONDS, Opened, Stamp, connect, set_wait, stamp_of, transaction

Self = TypeVar("Self", bound="GalleryFile")
Made = TypeVar("Made")


class GalleryFile:
    """One gallery file. Opening and reading do not create it; the first enrolment does.

    Where another program changes, replaces or removes the file, the next call sees it. Safe to use from several
    threads and several programs.
    """

    def __init__(self, path: str | PathLike[str], *, contract: str | None = None) -> None:
        """Open the file, if there is one.

        path: of the file.
        contract: the bundle's; a gallery made under another one is refused. None: no check, as for listing.

        Raises `gallery-corrupt`, `gallery-schema`, `contract-mismatch`, `output-unwritable`.
        """
        self.path = Path(values.path(path, "gallery")).absolute()  # the program may change its working directory
        self._contract = None if contract is None else values.text(contract, "contract")
        self._lock = threading.RLock()
        self._opened: Opened | None = None
        self._openings = 0
        self._patience = threading.local()  # seconds that a thread waits, if not the usual ones
        self._busy_s = BUSY_SECONDS  # what the connection waits
        with translated(self.path):
            self._reader()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        with self._lock:
            if self._opened:
                self._opened.connection.close()
            self._opened = None

    @property
    def generation(self) -> int:
        """A number that every change by any program increases; 0 for a gallery that does not exist yet."""
        return self._made(int, [self._meta("generation") or 0])[0]

    @property
    def version(self) -> tuple[int, int]:
        """Differs after every change by any program, and after the file was replaced by another one."""
        with self._held():
            generation = self.generation  # first: it opens the file that is there now
            return generation, self._openings

    @contextmanager
    def patience(self, wait_s: float) -> Iterator[None]:
        """Within this block this thread waits at most `wait_s` seconds for each thread or program that writes.

        Then `GalleryBusy` is raised. Otherwise it waits 30 s for other programs, and for other threads without limit.
        """
        self._patience.wait_s = wait_s
        try:
            yield
        finally:
            del self._patience.wait_s

    @property
    def contract(self) -> str | None:
        """The contract of the bundle with which the clips were enrolled; None for an empty gallery."""
        return self._meta("contract")

    def _reader(self) -> sqlite3.Connection | None:
        """A connection to the file that is there now."""
        opened = self._opened
        if opened and not opened.connection.in_transaction and self._stamp(opened.stamp) != opened.stamp:
            self.close()
        if self._opened is None:
            self._open(create=False)
        elif (wait_s := getattr(self._patience, "wait_s", BUSY_SECONDS)) != self._busy_s:
            set_wait(self._opened.connection, wait_s)
            self._busy_s = wait_s
        return self._opened.connection if self._opened else None

    def _open(self, create: bool) -> None:
        self._busy_s = getattr(self._patience, "wait_s", BUSY_SECONDS)
        opened = connect(self.path, create=create, wait_s=self._busy_s)
        if opened:
            self._openings += 1
            try:
                self._check_contract(opened.connection, self._contract)
            except BaseException:
                opened.connection.close()
                raise
        self._opened = opened

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The gallery's lock. Raises `GalleryBusy` if this thread has only so much patience."""
        wait_s = getattr(self._patience, "wait_s", None)
        if not self._lock.acquire(timeout=-1 if wait_s is None else wait_s):
            raise busy(self.path)
        try:
            yield
        finally:
            self._lock.release()

    def _stamp(self, otherwise: Stamp) -> Stamp:
        """The stamp of the file as it is now; `otherwise` where the disk does not answer."""
        try:
            return stamp_of(self.path)
        except OSError:
            return otherwise

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """A transaction after which the file is not opened again. Raises `output-unwritable` where it was replaced."""
        opened = self._opened
        assert opened
        with transaction(connection):
            yield
            if self._stamp(opened.stamp)[:2] != opened.stamp[:2]:
                raise unwritable(self.path, "another file was put in its place meanwhile")
        self._opened = replace(opened, stamp=self._stamp(opened.stamp))

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._held(), translated(self.path):
            connection = self._reader()
            return connection.execute(query, values).fetchall() if connection else []

    def _made(self, make: Callable[[Any], Made], rows: Iterable[Any]) -> list[Made]:
        """What `make` makes of each row. Raises `gallery-corrupt` for a row that maclip would not have written."""
        try:
            return [make(row) for row in rows]
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise corrupt(self.path, str(error)) from error

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    @contextmanager
    def _changing(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction that increases the generation; rolled back on any error. Raises `gallery-empty`."""
        with self._held(), translated(self.path):
            connection = self._reader()
            if connection is None and create:
                self._open(create=True)
                connection = self._reader()
            if connection is None:
                raise empty(self.path)
            with self._transaction(connection):
                yield connection
                connection.execute(
                    "INSERT INTO meta VALUES ('generation', '1') "
                    "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
                )

    def _derive(self, version: tuple[int, int], statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Store what was derived from the gallery at `version` and can be derived again.

        Does nothing where the gallery cannot be written, or where its file may have been replaced.
        """
        try:
            with self._held(), translated(self.path):
                connection = self._reader()
                if connection and self._openings == version[1]:
                    with self._transaction(connection):
                        connection.executemany(statement, rows)
        except MaclipError as error:
            if error.code != "output-unwritable":
                raise

    def _claim(self, connection: sqlite3.Connection, contract: str | None) -> None:
        """Bind a new gallery to a contract. Raises `contract-mismatch`."""
        self._check_contract(connection, contract)
        if contract:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('contract', ?)", (contract,))

    def _check_contract(self, connection: sqlite3.Connection, contract: str | None) -> None:
        found = connection.execute("SELECT value FROM meta WHERE key = 'contract'").fetchone()
        if found and not isinstance(found[0], str):
            raise corrupt(self.path, "its contract is not text")
        if found and contract and found[0] != contract:
            raise MaclipError(
                "contract-mismatch",
                f"The gallery {self.path} was made with another model: its features cannot be compared.",
                "Use the bundle with which it was made, or enroll the clips again into another gallery.",
            )
