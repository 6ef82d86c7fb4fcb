"""The gallery's errors: SQLite's and the system's, translated to codes and sentences."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maclip_runtime.errors import MaclipError

BUSY = "locked"  # in SQLite's message where another program held its lock for too long
REFUSED = ("CHECK constraint", "NOT NULL constraint")  # how SQLite's messages begin that refuse a value
# How SQLite's messages begin that report a failed operation, but are only caused by a damaged file.
DAMAGE = (
    "no such ",
    "Could not decode ",
    "malformed ",
    "unsupported file format",
    "table ",
    "near ",
)


class GalleryBusy(MaclipError):
    """The error `output-unwritable`, because others write to the gallery for too long."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's and the system's errors as `output-unwritable` or `gallery-corrupt`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if BUSY in str(error):
            raise busy(path) from error
        raise (corrupt if str(error).startswith(DAMAGE) else unwritable)(path, str(error)) from error
    except sqlite3.IntegrityError as error:
        raise (refused if str(error).startswith(REFUSED) else corrupt)(path, str(error)) from error
    except UnicodeEncodeError as error:  # text with half of a surrogate pair
        raise refused(path, str(error)) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's own message may hold a damaged name
        raise corrupt(path, str(error)) from error
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from error


def refused(path: Path, why: str) -> MaclipError:
    """The error `clip-invalid` of a value that the gallery could not read back."""
    return MaclipError(
        "clip-invalid", f"The gallery {path} stores no such value ({why}).", "Give what Recognizer.enroll makes."
    )


def corrupt(path: Path, why: str) -> MaclipError:
    """The error `gallery-corrupt`."""
    return MaclipError(
        "gallery-corrupt",
        f"The gallery {path} cannot be used ({why}).",
        "Give another --gallery, or restore this one from a copy.",
    )


def unwritable(path: Path, why: str) -> MaclipError:
    """The error `output-unwritable` of a gallery."""
    return MaclipError(
        "output-unwritable",
        f"The gallery {path} cannot be opened or written ({why}).",
        "Give a file in a folder that exists and that you may write to, on a disk with free space.",
    )


def busy(path: Path) -> GalleryBusy:
    """The error `output-unwritable` where others hold the gallery's lock for too long."""
    return GalleryBusy(
        "output-unwritable",
        f"The gallery {path} cannot be opened or written (database is {BUSY}).",
        "Try again when the other program or thread has finished.",
    )


def empty(path: Path) -> MaclipError:
    """The error `gallery-empty`."""
    return MaclipError("gallery-empty", f"The gallery {path} has no classes.", "Enroll a clip first.")
