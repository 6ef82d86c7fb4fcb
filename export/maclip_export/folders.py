"""A folder that appears whole or not at all: written beside its place, then moved there in one step."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from maclip_runtime.errors import MaclipError
from maclip_runtime.interrupts import deferred, sigterm_raises


@contextmanager
def new_folder(out: Path, force: bool, ours: Callable[[Path], bool], kind: str) -> Iterator[Path]:
    """A temporary folder beside `out` that replaces `out` when the block ends without an error.

    After an error, Ctrl-C or SIGTERM `out` is as it was before. A signal during the replacement is handled after it.

    force: replace an existing folder, if `ours` is true for it.
    ours: whether a folder is of our kind.
    kind: what messages call such a folder.

    Raises `output-exists` and `output-unwritable` (a full disk, for one).
    """

    def refuse() -> None:
        refuse_existing(out, force)
        if out.exists() and not (out.is_dir() and ours(out)):
            raise MaclipError("output-exists", f"{out} exists and is not a {kind}.", "Choose another folder.")

    refuse()
    place = out.resolve()  # the target, where `out` is a link
    with sigterm_raises():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with deferred() as interrupted:
                folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            if interrupted():
                raise KeyboardInterrupt
            yield folder
            # mkdtemp and safetensors let only the owner read, but a device may run as another user.
            folder.chmod(0o755)
            for path in folder.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            refuse()  # another program may have made it meanwhile
            with deferred() as interrupted:
                _swap(folder, place)
            if interrupted():
                raise KeyboardInterrupt
        except OSError as error:
            raise _unwritable(out, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(out: Path, force: bool) -> None:
    """Raise `output-exists` if `out` exists and `force` is not set. Call it before long work.

    Raises `output-unwritable` if the path cannot be looked up.
    """
    try:
        there = out.exists()
    except OSError as error:  # a name too long, for one
        raise _unwritable(out, error) from error
    if there and not force:
        raise MaclipError(
            "output-exists", f"{out} already exists.", "Add --force to replace it, or choose another folder."
        )


def _swap(folder: Path, out: Path) -> None:
    """Put `folder` in the place of `out`; after an error the old one is back."""
    old = folder.with_name(folder.name + ".old")
    try:
        if out.exists():
            os.replace(out, old)
        os.replace(folder, out)
    except BaseException:  # the second Ctrl-C among them
        if old.exists() and not out.exists():
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> MaclipError:
    return MaclipError(
        "output-unwritable",
        f"{out} cannot be written ({error.strerror or error}).",
        "Free the disk, or choose a folder that you can write to.",
    )
