"""Writing a file in one step: whoever reads it finds the old content or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maclip_runtime.errors import MaclipError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends without error. Raises `output-unwritable`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o644)  # safetensors writes for the owner alone
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing under it
        os.replace(temporary, path)
    except OSError as error:
        raise MaclipError(
            "output-unwritable",
            f"{path} cannot be written ({error.strerror}).",
            "Free disk space or choose another place.",
        ) from error
    finally:
        with suppress(OSError):  # also where the parent is no folder
            temporary.unlink()
