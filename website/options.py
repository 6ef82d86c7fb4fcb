"""Pages with every command and option, read from the command lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from maclip_cli.settings import Known, key_of

TITLES = {"maclip-run": "Commands of a device", "maclip": "Commands of a workstation"}


def options_page(program: str) -> str:
    """The page of a program as Markdown."""
    if program == "maclip-run":
        from maclip_cli.device.app import app
        from maclip_cli.device.examples import EXAMPLES
    else:
        from maclip_cli.workstation.app import app
        from maclip_cli.workstation.examples import EXAMPLES

    root: Any = typer.main.get_command(app)
    known = Known(root)
    parts = [
        f"# {TITLES[program]}: `{program}`",
        f"{root.help} `{program} COMMAND --help` prints the same. The file and the environment variables that set "
        "options are described in [settings](settings.md).",
    ]
    for name, command in _commands(root):
        parts += [
            f"## {name}",
            _escaped(str(command.help).replace("\n\n", "\x00").replace("\n", " ").replace("\x00", "\n\n")),
        ]
        parts.append("```bash\n" + "\n".join(EXAMPLES[name]) + "\n```")
        parts.append(_table(command, known, name))
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from _commands(below, f"{before}{name} ")
        else:
            yield before + name, below


def _table(command: Any, known: Known, name: str) -> str:
    lines = ["| | default | variable | |", "| --- | --- | --- | --- |"]
    context = known.context(name)
    for option in command.params:
        if getattr(option, "hidden", False):
            continue
        flags = [*option.opts, *option.secondary_opts]
        shown = (
            ", ".join(f"`{flag}`" for flag in flags) if option.param_type_name == "option" else f"`{_argument(option)}`"
        )
        default = option.get_default(context)
        if option.required:
            said = "required"
        elif default in (None, [], (), "", False):
            said = ""
        else:
            said = f"`{getattr(default, 'value', default)}`"
        key = key_of(option)
        variable = (option.envvar or known.variable(key)) if key else None
        lines.append(f"| {shown} | {said} | {f'`{variable}`' if variable else ''} | {_escaped(option.help or '')} |")
    return "\n".join(lines)


def _argument(option: Any) -> str:
    return str(option.metavar or option.name.upper())


def _escaped(text: str) -> str:
    for sign in "\\*_[]<>|":
        text = text.replace(sign, "\\" + sign)
    return text
