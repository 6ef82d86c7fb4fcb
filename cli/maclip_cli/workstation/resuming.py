"""`maclip train --resume`: options that would change what is learnt must be those of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from maclip_runtime.errors import MaclipError

GIVEN = "COMMANDLINE"  # the name is compared: where typer keeps click's enumeration moved between its versions


def refuse_changes(context: typer.Context, run: Path, asked: Mapping[str, object]) -> None:
    """Raise `resume-differs` for options on the command line that are not those of `run`; `asked` are all by field.

    What `asked` does not name belongs to the machine and may change. Raises `run-missing`, `run-invalid`.
    """
    from maclip.runs import Run

    config = Run.open(run).config
    began: dict[str, Any] = {
        **config.model.values(),
        **config.train.values(),
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
        if is_given(context, option) and option in asked and asked[option] != began[option]:
            name = "DATA" if option == "data" else "--" + option.replace("_", "-")
            differ.append(f"{name} {_said(asked[option])} (the run has {_said(began[option])})")
    if differ:
        raise MaclipError(
            "resume-differs",
            f"{run} was trained with other options: {', '.join(differ)}.",
            f"Resume it as it is: maclip train --resume {run}; or begin another with --out.",
        )


def is_given(context: typer.Context, option: str) -> bool:
    """Whether `option` stood on the command line."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == GIVEN


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
