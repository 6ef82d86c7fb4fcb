"""What every command of `maclip` and `maclip-run` has: examples in its help, `--quiet` and `--verbose`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, get_type_hints

import typer
from typer.models import CommandInfo

from maclip_cli.console import set_loudness

OUTPUT = "Messages"
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="On stderr only warnings and errors.", rich_help_panel=OUTPUT),
]
VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="On stderr also details, such as the device and why.", rich_help_panel=OUTPUT),
]


def finish(app: typer.Typer, examples: Mapping[str, Sequence[str]]) -> None:
    """Give each command of `app` its examples, `--quiet` and `--verbose`; called once all commands are added.

    examples: command lines by command, such as "gallery list".
    """
    for name, info in commands(app):
        assert info.callback is not None
        info.callback = _with_loudness(info.callback)
        lines = [line.replace("[", "\\[") for line in examples.get(name, ())]  # typer reads markup
        info.epilog = "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *lines]) if lines else None


def commands(app: typer.Typer, before: str = "") -> Iterator[tuple[str, CommandInfo]]:
    """Every command of `app` by its name, such as "gallery list"."""
    for info in app.registered_commands:
        assert info.callback is not None
        yield before + (info.name or info.callback.__name__.replace("_", "-")), info
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{before}{group.name} ")


def _with_loudness(command: Callable[..., Any]) -> Callable[..., Any]:
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints.get(name, parameter.annotation), kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in (("quiet", QuietOption), ("verbose", VerboseOption))
    ]

    @functools.wraps(command)
    def run(*, quiet: bool, verbose: bool, **values: Any) -> Any:
        set_loudness(quiet=quiet, verbose=verbose)
        return command(**values)

    signature = inspect.Signature([*own, *more])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    del run.__wrapped__  # type: ignore[attr-defined]
    return run
