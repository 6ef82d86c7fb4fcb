"""`maclip backbones`: the open_clip models that MA-CLIP supports, and why not the others."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import people
from maclip_cli.workstation.requirements import need_training

if TYPE_CHECKING:
    from maclip.backbones.catalogue import Entry


def backbones(
    refused: Annotated[bool, typer.Option("--refused", help="List unsupported models, with reasons.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON, on stdout.")] = False,
) -> None:
    """List the supported backbones (besides 'tiny') for --backbone. Downloads nothing."""
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
    people().print(
        f"{len(works)} of {len(found)} open_clip models are supported; --refused lists the others with reasons, and "
        "--json the tags for --pretrained. frame: what represents a frame in temporal adaptation, its class token or "
        "the mean of its patches. fits: both kinds of adapters, or only the ladder, the default. text: its own, or of "
        "a model hub its tokenizer, which can be read from beside the weights, or its encoder, which needs "
        "transformers and the network.",
        soft_wrap=True,
    )


def _table(works: list[Entry]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("backbone", no_wrap=True)
    for heading in ("px", "blocks", "tokens", "D'"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("frame", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    table.add_column("text", no_wrap=True)
    for one in works:
        figures = (one.size, one.blocks, one.tokens, one.feature_width)
        frame, fits = "class" if one.class_token else "mean", "both" if one.adaptable else "ladder"
        table.add_row(one.name, *map(str, figures), frame, fits, one.text.removeprefix("hub "))
    return table


def _others(found: list[Entry]) -> Table:
    table = Table("backbone", "its image tower", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for one in found:
        if one.problem is not None:
            table.add_row(one.name, escape(one.problem))
    return table
