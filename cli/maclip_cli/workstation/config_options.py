"""Command-line options generated from configurations, so that an option is defined once, in `maclip.config`.

    @takes(model=ModelConfig, train=TrainConfig)
    def train(data: Path, *, model: ModelConfig, train: TrainConfig) -> None: ...

has all options of both configurations in addition to its own parameters, and is called with both configurations.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from maclip.config import Config, Option


def takes(**configs: type[Config]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that builds keyword arguments of a command, by name, from command-line options."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in configs
        ]
        options = {name: tuple(config.options()) for name, config in configs.items()}
        made = [_parameter(one, f"{name.capitalize()} options") for name, several in options.items() for one in several]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            built = {
                name: config.of(**{one.name: _plain(one, values.pop(one.name)) for one in options[name]})
                for name, config in configs.items()
            }
            command(**values, **built)

        signature = inspect.Signature([*own, *made], return_annotation=None)
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()} | {"return": None}
        del run.__wrapped__  # type: ignore[attr-defined]
        return run

    return decorate


def _parameter(one: Option, panel: str) -> inspect.Parameter:
    kind = _element(one)
    flag: list[str] = [one.flag]
    default, annotation = one.default, kind
    if _is_tuple(one):
        annotation, default = list[kind] | None, None  # type: ignore[valid-type]
    elif one.default is None:
        annotation = kind | None
    if kind is bool and one.default:
        flag = [f"{one.flag}/--no-{one.flag.removeprefix('--')}"]
    # The configuration checks the bounds; its error says what is allowed.
    metavar = "PATH" if kind is Path else "TEXT" if _is_tuple(one) and kind is str else None
    info = typer.Option(*flag, help=one.help, metavar=metavar, rich_help_panel=panel)
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


def _plain(one: Option, value: Any) -> Any:
    """The value of an option; the default of a list that was not given."""
    if not _is_tuple(one):
        return value
    return tuple(value) if value else one.default


def _element(one: Option) -> Any:
    """The type of the option's value, or of each element."""
    kind = one.kind
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not types.NoneType)
    return get_args(kind)[0] if get_origin(kind) is tuple else kind


def _is_tuple(one: Option) -> bool:
    return get_origin(one.kind) is tuple
