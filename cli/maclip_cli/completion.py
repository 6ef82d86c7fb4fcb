"""Completion of commands and options in the shell: `maclip-run completion bash` prints the script that does it."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import Annotated

import typer


class Shell(str, Enum):
    """A shell whose completion is supported."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion_command(program: str) -> Callable[[Shell], None]:
    """The command `completion` of `program`."""

    def completion(
        shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", case_sensitive=False)],
    ) -> None:
        """Print a script that completes commands and options in your shell; see the examples below."""
        from typer.completion import get_completion_script  # type: ignore[attr-defined]

        typer.echo(get_completion_script(prog_name=program, complete_var=_variable(program), shell=shell.value))

    return completion


def answer_completion() -> None:
    """Let typer answer where a shell asks it for completions."""
    if any(name.startswith("_MACLIP") and name.endswith("_COMPLETE") for name in os.environ):
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def _variable(program: str) -> str:
    return f"_{program.replace('-', '_')}_complete".upper()
