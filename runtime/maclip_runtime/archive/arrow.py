"""pyarrow, which the extra `archive` installs, and its errors as ours."""

from __future__ import annotations

from typing import Any

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError


def arrow() -> Any:
    """The module `pyarrow` with `pyarrow.ipc`. Raises `archive-missing` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise MaclipError(
            "archive-missing",
            "Indexing and finding need pyarrow, which is not installed.",
            "pip install 'maclip[archive]'",
            EXIT_MACHINE_LACKS,
        ) from error
    return pyarrow
