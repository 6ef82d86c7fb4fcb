"""`maclip config` and `maclip-run config`: which options are set, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.settings import Settings, settings_of
from maclip_runtime.errors import MaclipError

DEFAULT = "default"


@dataclass(frozen=True)
class Row:
    """An option of a command, its value for people, and where that comes from."""

    command: str
    option: str
    value: str
    origin: str


def config_command(program: str) -> Callable[..., None]:
    """The command `config` of `program`."""

    def config(
        context: typer.Context,
        command: Annotated[
            list[str] | None,
            typer.Argument(metavar="[COMMAND]", help="Show every option of this command.", show_default=False),
        ] = None,
        everything: Annotated[
            bool, typer.Option("--all", help="Show every option of every command, defaults too.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="JSON Lines on stdout and nothing else.")] = False,
    ) -> None:
        """Show which options maclip.toml and environment variables set, and where each value comes from."""
        from maclip_cli.console import print_json, results

        settings = settings_of(program, context.find_root().command)
        known = settings.known.options
        name = " ".join(command or [])
        if name and name not in known:
            raise MaclipError("option-invalid", f"There is no command {name!r}.", f"Use one of {', '.join(known)}.")
        rows = [row for one in known if name in ("", one) for row in _rows(settings, one)]
        if not name and not everything:
            rows = [row for row in rows if row.origin != DEFAULT]
        if as_json:
            for row in rows:
                print_json(asdict(row))
            return
        out = results()
        for path, there in settings.files:
            out.print(escape(f"{path}: {'read' if there else 'not there'}"), soft_wrap=True)
        table = Table("option", "value", "from", "commands")
        whose: dict[tuple[str, str, str], list[str]] = {}
        for row in rows:
            whose.setdefault((row.option, row.value, row.origin), []).append(row.command)
        for facts, commands in whose.items():
            table.add_row(*map(escape, (*facts, ", ".join(commands))))
        out.print(table if rows else "No option is set by a file or a variable.")

    return config


def _rows(settings: Settings, name: str) -> Iterator[Row]:
    context = settings.known.context(name)
    for key, option in settings.known.options[name].items():
        found = next((one for one in settings.found if (one.command, one.key) == (name, key)), None)
        flag = f"--{key}" if option.param_type_name == "option" else key.upper()
        if found is not None:
            yield Row(name, flag, found.shown, found.origin)
        else:
            value = option.get_default(context)
            text = "" if value is None else str(getattr(value, "value", value))
            yield Row(name, flag, text.lower() if isinstance(value, bool) else text, DEFAULT)
