"""`maclip train --resume`: options that affect the result must be those of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from maclip_runtime.errors import MaclipError

GIVEN = "COMMANDLINE"  # compared by name, because the enum is in different modules in different versions of typer


def refuse_changes(context: typer.Context, run: Path, requested: Mapping[str, object]) -> None:
    """Raise `resume-differs` if options on the command line differ from those of `run`.

    requested: values of all options that affect the result, by name. Other options may change.
    Also raises `run-missing` and `run-invalid`.
    """
    from maclip.runs import Run

    config = Run.open(run).config
    flags = {one.name: one.flag for part in (config.model, config.train) for one in part.options()} | {"data": "DATA"}
    recorded: dict[str, Any] = {
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
    differences = []
    for option in context.params:
        if is_given(context, option) and option in requested and requested[option] != recorded[option]:
            flag = flags.get(option) or "--" + option.replace("_", "-")
            differences.append(f"{flag} {_text(requested[option])} (the run has {_text(recorded[option])})")
    if differences:
        raise MaclipError(
            "resume-differs",
            f"{run} was trained with other options: {', '.join(differences)}.",
            f"Resume it with its own options: maclip train --resume {run}; or start a new run with --out.",
        )


def is_given(context: typer.Context, option: str) -> bool:
    """Whether `option` was given on the command line."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == GIVEN


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
