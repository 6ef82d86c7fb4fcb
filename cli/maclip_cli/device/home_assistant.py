"""`maclip-run home-assistant`: take back what was announced to Home Assistant."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from maclip_cli.console import changes, print_json, results
from maclip_cli.device.options import JsonOption
from maclip_runtime.redaction import redact

home_assistant_app = typer.Typer(
    no_args_is_help=True,
    help="Take back what `recognize --home-assistant` and `serve --home-assistant` have announced.",
)


@home_assistant_app.callback()
def _commands() -> None:
    """Keep `remove` a command of its own although it is the only one."""


@home_assistant_app.command()
@changes
def remove(
    uri: Annotated[str, typer.Argument(metavar="MQTT", help="The address that --to was given: mqtt://HOST/TOPIC.")],
    as_json: JsonOption = False,
) -> None:
    """Remove the device and all its entities from Home Assistant."""
    from maclip_runtime.sinks.kinds.mqtt import remove_from_home_assistant

    remove_from_home_assistant(uri)
    if as_json:
        print_json({"removed": redact(uri)})
    else:
        results().print(escape(f"Removed what {redact(uri)} had announced."), soft_wrap=True)
