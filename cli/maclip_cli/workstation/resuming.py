"""`maclip train --resume`: options that would change what is learnt must be those the run was begun with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from maclip_runtime.errors import MaclipError

GIVEN = "COMMANDLINE"  # the name is compared: where typer keeps click's enumeration moved between its versions
# The command's options that the run's configuration calls otherwise.
FIELDS = {"template": "templates"}


def refuse_changes(context: typer.Context, run: Path, asked: Mapping[str, object]) -> None:
    """Raise `resume-differs` for options on the command line that are not those of `run`; `asked` are all by field.

    What `asked` does not name belongs to the machine and may change. Raises `run-missing`, `run-invalid`.
    """
    from maclip.runs import read_run

    config = read_run(run)
    began: dict[str, Any] = {
        **dataclasses.asdict(config.model),
        **dataclasses.asdict(config.train),
        "backbone": config.backbone.name,
        "data": config.data,
        "out": str(run.resolve()),
        "lists": config.lists.folder if config.lists else None,
        "class_names": config.lists.names if config.lists else None,
        "skip_missing": config.lists is not None and config.lists.skip_missing,
        "init": config.init.run if config.init else None,
    }
    differ = []
    for option in context.params:
        field = FIELDS.get(option, option)
        if is_given(context, option) and field in asked and asked[field] != began[field]:
            name = "DATA" if option == "data" else "--" + option.replace("_", "-")
            differ.append(f"{name} {_said(asked[field])} (the run has {_said(began[field])})")
    if differ:
        raise MaclipError(
            "resume-differs",
            f"{run} was begun with other options: {', '.join(differ)}.",
            f"Go on with it as it is: maclip train --resume {run}; or begin another with --out.",
        )


def is_given(context: typer.Context, option: str) -> bool:
    """Whether `option` stood on the command line."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == GIVEN


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
