"""`maclip-run`: enroll actions and recognise them on a device, without torch. Commands parse, call and print."""

from __future__ import annotations

import typer

from maclip_cli.commands import finish
from maclip_cli.completion import completion_command
from maclip_cli.console import add_version, changes, run_app
from maclip_cli.device.bench import bench
from maclip_cli.device.build import build
from maclip_cli.device.bundle import info, verify
from maclip_cli.device.calibrate import calibrate
from maclip_cli.device.doctor import doctor
from maclip_cli.device.enroll import enroll, negatives
from maclip_cli.device.examples import EXAMPLES
from maclip_cli.device.find import find
from maclip_cli.device.gallery import gallery_app
from maclip_cli.device.home_assistant import home_assistant_app
from maclip_cli.device.index import index
from maclip_cli.device.recognize import recognize
from maclip_cli.device.serve import serve
from maclip_cli.settings_command import config_command

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Enroll actions from a handful of clips and recognise them in videos and on cameras.",
)
NAME = "maclip-run"
add_version(app, NAME)
app.command()(changes(enroll))
app.command()(changes(negatives))
app.command()(changes(calibrate))
app.command()(recognize)
app.command()(changes(index))
app.command()(find)
app.command()(serve)
app.add_typer(gallery_app, name="gallery")
app.add_typer(home_assistant_app, name="home-assistant")
app.command()(info)
app.command()(verify)
app.command()(changes(build))
app.command()(doctor)
app.command()(bench)
app.command()(config_command(NAME))
app.command()(completion_command(NAME))
finish(app, EXAMPLES)


def main() -> None:
    """The entry point of `maclip-run`."""
    run_app(app, NAME)
