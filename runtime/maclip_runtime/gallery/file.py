"""The gallery's file under one lock: reading what is there, and changes that are made as a whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.schema import (
    BUSY,
    BUSY_SECONDS,
    Opened,
    Stamp,
    connect,
    corrupt,
    plain_errors,
    stamp_of,
    transaction,
    unwritable,
    wait,
)

Self = TypeVar("Self", bound="Database")
Made = TypeVar("Made")


class Database:
    """One gallery file. It is created by the first change that adds, not by opening or reading.

    A file that is put in its place, or removed, counts from the next question on, as any program's changes do.
    `contract` is the bundle's: a gallery made under another one is refused with `contract-mismatch`; None
    asks for no check (listing needs no bundle). Safe to use from several threads and several programs.
    """

    def __init__(self, path: str | PathLike[str], contract: str | None = None) -> None:
        self.path = Path(path).absolute()  # wherever the program goes later
        self._contract = contract
        self._lock = threading.RLock()
        self._opened: Opened | None = None
        self._openings = 0
        self._patience = BUSY_SECONDS
        with plain_errors(self.path):
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
        """Grows with every change by any program; 0 for a gallery that does not exist yet."""
        return self._made(int, [self._meta("generation") or 0])[0]

    @property
    def version(self) -> tuple[int, int]:
        """Another one after every change by any program, and where another file was put in this one's place."""
        with self._lock:
            generation = self.generation  # first, for it opens the file that is there now
            return generation, self._openings

    def changed_since(self, version: tuple[int, int], patience: float) -> bool:
        """Whether `version` is another one now; no, where programs that write leave no room to ask in `patience` s."""
        with self._lock:
            self._wait(patience)
            try:
                return self.version != version
            except MaclipError as error:
                if BUSY in str(error.__cause__):
                    return False
                raise
            finally:
                self._wait(BUSY_SECONDS)

    @property
    def contract(self) -> str | None:
        """The contract of the bundle that the clips were enrolled with; None for an empty gallery."""
        return self._meta("contract")

    def _reader(self) -> sqlite3.Connection | None:
        """A connection to the file that is there now."""
        opened = self._opened
        if opened and not opened.connection.in_transaction and self._stamp(opened.stamp) != opened.stamp:
            self.close()
        if self._opened is None:
            self._open(create=False)
        return self._opened.connection if self._opened else None

    def _open(self, create: bool) -> None:
        opened = connect(self.path, create, self._patience)
        if opened:
            self._openings += 1
            try:
                self._check_contract(opened.connection, self._contract)
            except BaseException:
                opened.connection.close()
                raise
        self._opened = opened

    def _wait(self, patience: float) -> None:
        """Wait so many seconds for other programs from now on."""
        self._patience = patience
        if self._opened:
            wait(self._opened.connection, patience)

    def _stamp(self, otherwise: Stamp) -> Stamp:
        """That of the file as it is now; a disk that does not answer says nothing against what is open."""
        try:
            return stamp_of(self.path)
        except OSError:
            return otherwise

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """One whose change is known to be this program's own. Raises `output-unwritable` where it would be lost."""
        opened = self._opened
        assert opened
        with transaction(connection):
            yield
            if self._stamp(opened.stamp)[:2] != opened.stamp[:2]:
                raise unwritable(self.path, "another file was put in its place meanwhile")
        self._opened = replace(opened, stamp=self._stamp(opened.stamp))

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock, plain_errors(self.path):
            connection = self._reader()
            return connection.execute(query, values).fetchall() if connection else []

    def _made(self, make: Callable[[Any], Made], rows: Iterable[Any]) -> list[Made]:
        """What `make` reads from each row. Raises `gallery-corrupt` for one that maclip would not have written."""
        try:
            return [make(row) for row in rows]
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise corrupt(self.path, str(error)) from error

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    @contextmanager
    def _changing(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction that counts as a change; undone as a whole on any error. Raises `gallery-empty`."""
        with self._lock, plain_errors(self.path):
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
        """Keep what was made of the gallery at `version` and can be made again.

        Does nothing where the gallery cannot be written, and where another file may have been put in its place.
        """
        try:
            with self._lock, plain_errors(self.path):
                connection = self._reader()
                if connection and self._openings == version[1]:
                    with self._transaction(connection):
                        connection.executemany(statement, rows)
        except MaclipError as error:
            if error.code != "output-unwritable":
                raise

    def _claim(self, connection: sqlite3.Connection, contract: str | None) -> None:
        """Bind a new gallery to a contract; refuse one that is bound to another."""
        self._check_contract(connection, contract)
        if contract:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('contract', ?)", (contract,))

    def _check_contract(self, connection: sqlite3.Connection, contract: str | None) -> None:
        found = connection.execute("SELECT value FROM meta WHERE key = 'contract'").fetchone()
        if found and not isinstance(found[0], str):
            raise corrupt(self.path, "its contract is no text")
        if found and contract and found[0] != contract:
            raise MaclipError(
                "contract-mismatch",
                f"The gallery {self.path} was made with another model: its features cannot be compared.",
                "Use the bundle it was made with, or enroll the clips again into another gallery.",
            )


def empty(path: Path) -> MaclipError:
    """The error `gallery-empty`."""
    return MaclipError("gallery-empty", f"The gallery {path} has no classes.", "Enroll a clip first.")
