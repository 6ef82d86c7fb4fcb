"""What `maclip` and `maclip-run` share: errors with their exit code, and consoles.

`error[code]: sentence` and `fix: ...` go to stderr; a traceback only with MACLIP_DEBUG=1.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from maclip_cli import streams
from maclip_cli.completion import answer_completion
from maclip_cli.settings import settings_of
from maclip_runtime.errors import EXIT_INTERRUPTED, EXIT_OUR_FAULT, EXIT_USER_INPUT, MaclipError

DEBUG_VARIABLE = "MACLIP_DEBUG"

_quiet = False

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def run_app(app: typer.Typer, name: str) -> None:
    """Run a command line and exit: 0 done, 1 our fault, 2 input refused, 3 machine lacks something, 130 interrupted."""
    streams.protect()
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("maclip").setLevel(logging.INFO)
    app.pretty_exceptions_enable = False
    try:
        command = typer.main.get_command(app)
        defaults = {} if {"--help", "--version"} & set(sys.argv) else settings_of(name, command).apply()
        answer_completion()
        # Without standalone mode typer passes its exceptions and exit codes to us.
        code = command.main(prog_name=name, standalone_mode=False, default_map=defaults)
        if lost := streams.lost_output():
            raise lost
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


def add_version(app: typer.Typer, name: str) -> None:
    """Give a command line the option `--version`, which prints `name` and the version."""

    def show(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{name} {_version()}")
            raise typer.Exit

    option = typer.Option(False, "--version", callback=show, is_eager=True, help="Print the version and exit.")

    @app.callback()
    def _options(version: bool = option) -> None:
        pass


def changes(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Mark a command that changes something: once it is done, output that is lost does not make it fail."""

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        result = command(*args, **kwargs)
        streams.work_is_done()
        return result

    return run


def people() -> Console:
    """A console for messages and progress, on stderr; stdout is for results. Silent with --quiet."""
    return Console(stderr=True, highlight=False, quiet=_quiet)


def set_loudness(*, quiet: bool, verbose: bool) -> None:
    """How much goes to stderr. quiet: warnings and errors only; verbose: the log's details too. The former wins."""
    global _quiet
    _quiet = quiet
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger("maclip").setLevel(level)


def results() -> Console:
    """A console for tables and plain results, on stdout."""
    return Console(highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON Lines record on stdout and flush. Ends the program if the reader has gone (`| head`).

    A file name that is not UTF-8 has "?" in places, as in events. Where stdout is not UTF-8, other characters are
    escaped as JSON does it.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace").decode()
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(json.loads(line))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if streams.reader_gone():
        raise SystemExit(0)


def _version() -> str:
    try:
        return version("maclip")
    except PackageNotFoundError:  # a checkout that was not installed
        return "(not installed)"


def _exit(error: BaseException, lines: list[str], code: int) -> None:
    if os.environ.get(DEBUG_VARIABLE) == "1":
        import traceback

        traceback.print_exception(error)
    for line in lines:
        # A file name may contain terminal control characters.
        print("".join(char if char.isprintable() else repr(char)[1:-1] for char in line), file=sys.stderr)
    sys.exit(code)
