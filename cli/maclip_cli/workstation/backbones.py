"""`maclip backbones`: which of open_clip's models MA-CLIP fits, and why not the others."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.workstation.requirements import need_training

if TYPE_CHECKING:
    from maclip.backbones.catalogue import Entry


def backbones(
    refused: Annotated[bool, typer.Option("--refused", help="List the others instead, each with the reason.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """List the backbones that work, for --backbone, beside 'tiny': no weights are loaded, nothing is downloaded."""
    need_training()
    from maclip.backbones.catalogue import catalogue
    from maclip_cli.progress import Bars

    with Bars() as bars:
        found = catalogue(bars.progress("building without weights"))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found]))
        return
    works = [one for one in found if one.problem is None]
    Console().print(_others(found) if refused else _table(works))
    Console(stderr=True).print(
        f"{len(works)} of open_clip's {len(found)} models work; --refused says why the others do not, and --json what "
        "--pretrained may name. Over time a frame is its class token, or the mean of its patches where the tower makes "
        "no use of one. A hub's tokenizer can lie beside the weights; its encoders need transformers and the network.",
        soft_wrap=True,
    )


def _table(works: list[Entry]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("backbone", no_wrap=True)
    for heading in ("px", "blocks", "tokens", "D'"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("frame", no_wrap=True)
    table.add_column("text", no_wrap=True)
    for one in works:
        figures = (one.size, one.blocks, one.tokens, one.feature_width)
        table.add_row(one.name, *map(str, figures), "class" if one.class_token else "mean", one.text)
    return table


def _others(found: list[Entry]) -> Table:
    table = Table("backbone", "its image tower", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for one in found:
        if one.problem is not None:
            table.add_row(one.name, escape(one.problem))
    return table
