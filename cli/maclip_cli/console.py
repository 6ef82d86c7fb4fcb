"""What `maclip` and `maclip-run` share: errors with their exit code, and consoles.

`error[code]: sentence` and `fix: ...` go to stderr; a traceback only with MACLIP_DEBUG=1.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import typer
from rich.console import Console

from maclip_runtime.errors import EXIT_INTERRUPTED, EXIT_OUR_FAULT, EXIT_USER_INPUT, MaclipError

DEBUG_VARIABLE = "MACLIP_DEBUG"


def run_app(app: typer.Typer) -> None:
    """Run a command line and exit: 0 done, 1 our fault, 2 input refused, 3 machine lacks something, 130 interrupted."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("maclip").setLevel(logging.INFO)
    app.pretty_exceptions_enable = False
    try:
        # Without standalone mode typer passes its exceptions and exit codes to us.
        code = app(standalone_mode=False)
        if sys.stdout is not None:  # closed by the caller (`>&-`)
            sys.stdout.flush()
        if code == EXIT_INTERRUPTED:  # typer's exit code for Ctrl-C
            sys.stderr.write("interrupted\n")
        sys.exit(code if isinstance(code, int) else 0)
    except MaclipError as error:
        _exit(error, [f"error[{error.code}]: {error.message}", f"fix: {error.fix}"], error.exit_code)
    except (KeyboardInterrupt, typer.Abort) as error:
        _exit(error, ["interrupted"], EXIT_INTERRUPTED)
    except Exception as error:
        # typer's own errors (an unknown option, a missing argument) print themselves; their class moved between
        # typer's versions.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(EXIT_USER_INPUT)
        message = " ".join(str(error).split())[:500]
        _exit(
            error,
            [
                f"error[internal]: {type(error).__name__}: {message}",
                f"fix: this is a bug in maclip; run again with {DEBUG_VARIABLE}=1 and report what it prints.",
            ],
            EXIT_OUR_FAULT,
        )


def people() -> Console:
    """A console for messages and progress, on stderr; stdout is for results."""
    return Console(stderr=True, highlight=False)


def results() -> Console:
    """A console for tables and plain results, on stdout."""
    return Console(highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON Lines record on stdout and flush."""
    try:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone (`| head`); /dev/null, so that flushing at exit does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _exit(error: BaseException, lines: list[str], code: int) -> None:
    if os.environ.get(DEBUG_VARIABLE) == "1":
        import traceback

        traceback.print_exception(error)
    for line in lines:
        # A file name may contain terminal control characters.
        print("".join(char if char.isprintable() else repr(char)[1:-1] for char in line), file=sys.stderr)
    sys.exit(code)
