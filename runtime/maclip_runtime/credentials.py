"""Bearer tokens: from the environment or a file, never from an address, a command line or a log."""

from __future__ import annotations

import os
from pathlib import Path

from maclip_runtime.errors import MaclipError

MAX_TOKEN_BYTES = 1 << 14


def bearer_token(variable: str) -> str | None:
    """The token in the environment variable, or in the file that `VARIABLE_FILE` names; None where neither is set.

    The file is read at each call, so that a renewed token is used. Raises `token-invalid`, whose message never holds
    the token.
    """
    found = os.environ.get(variable)
    if not found:
        file = os.environ.get(f"{variable}_FILE")
        if not file:
            return None
        try:
            with Path(file).open("rb") as opened:
                found = opened.read(MAX_TOKEN_BYTES + 1).decode("ascii")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
            raise _invalid(f"{variable}_FILE", f"the file {file} cannot be read ({why})") from None
    token = found.strip()
    # A line break or a space would end the header that carries it.
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable() or " " in token:
        raise _invalid(variable, "it is not one word of printable ASCII")
    return token


def _invalid(variable: str, why: str) -> MaclipError:
    return MaclipError(
        "token-invalid",
        f"The token of {variable} cannot be used: {why}.",
        f"Put the token alone into {variable.removesuffix('_FILE')}, or its file's path into "
        f"{variable.removesuffix('_FILE')}_FILE.",
    )
