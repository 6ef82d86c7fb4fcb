"""Options: fields of frozen dataclasses that are checked on creation and are also options of the command line.

Configurations may be nested: `TrainConfig.optimizer.learning_rate`. The name of an option is unique in the whole tree;
it is used on the command line and by `of` and `changed`:

>>> from maclip.config import TrainConfig
>>> config = TrainConfig.of(way=12, learning_rate=1e-3)
>>> config.episode.way, config.optimizer.learning_rate
(12, 0.001)
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from maclip_runtime.errors import MaclipError

C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Option:
    """The description of an option.

    name: unique in the whole configuration.
    flag: on the command line.
    kind: its type.
    default: its default value.
    help: text for the command line.
    minimum, maximum: bounds of a number, inclusive; None: none.
    choices: allowed values; None: any.
    """

    name: str
    flag: str
    kind: Any
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None


def option(
    default: Any,
    help: str,
    *,
    name: str | None = None,
    flag: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field that is also an option.

    default: value of the field.
    help: text for the command line.
    name: of the option; default: the name of the field.
    flag: on the command line; default: from the name, such as `--learning-rate`.
    minimum, maximum: bounds of a number, inclusive; default: none.
    choices: allowed strings; default: any.
    """
    facts = {"help": help, "name": name, "flag": flag, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=facts)


class Config:
    """Base of configurations: frozen dataclasses whose fields, all with defaults, are options or configurations."""

    def __post_init__(self) -> None:
        """Check every option. Raises `option-invalid`."""
        for field, one in _own_options(type(self)):
            object.__setattr__(self, field, _checked(one, getattr(self, field)))

    @classmethod
    def of(cls: type[C], **options: Any) -> C:
        """A configuration with defaults, except for `options` by name, at any depth. Raises `option-invalid`."""
        return cls().changed(**options)

    def changed(self: C, **options: Any) -> C:
        """A copy with new values for `options` by name, at any depth. Raises `option-invalid`."""
        known = {one.name for one in type(self).options()}
        for name in options:
            if name not in known:
                raise MaclipError("option-invalid", f"There is no option {name!r}.", f"Use one of: {_listed(known)}.")
        return _changed(self, options)

    @classmethod
    def options(cls) -> Iterator[Option]:
        """All options in order, including those of nested configurations."""
        nested = {field: kind for field, kind in _nested(cls)}
        own = dict(_own_options(cls))
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.name in nested:
                yield from nested[field.name].options()
            elif field.name in own:
                yield own[field.name]

    def values(self) -> dict[str, Any]:
        """The values of all options by name."""
        found: dict[str, Any] = {}
        for field, one in _own_options(type(self)):
            found[one.name] = getattr(self, field)
        for field, _ in _nested(type(self)):
            found |= getattr(self, field).values()
        return found


def _changed(config: C, options: dict[str, Any]) -> C:
    changes: dict[str, Any] = {}
    for field, one in _own_options(type(config)):
        if one.name in options:
            changes[field] = options[one.name]
    for field, kind in _nested(type(config)):
        names = {one.name for one in kind.options()} & set(options)
        if names:
            changes[field] = _changed(getattr(config, field), {name: options[name] for name in names})
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def _own_options(cls: type[Config]) -> Iterator[tuple[str, Option]]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if "help" in field.metadata:
            facts = dict(field.metadata)
            name = facts.pop("name") or field.name
            flag = facts.pop("flag") or "--" + name.replace("_", "-")
            yield field.name, Option(name=name, flag=flag, kind=hints[field.name], default=field.default, **facts)


def _nested(cls: type[Config]) -> Iterator[tuple[str, type[Config]]]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, Config):
            yield field.name, kind


def _checked(one: Option, value: Any) -> Any:
    """`value` converted to the type of the option. Raises `option-invalid`."""
    kind = one.kind
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        kind = next(part for part in get_args(kind) if part is not types.NoneType)
    try:
        plain = _plain(kind, value)
    except (TypeError, ValueError):
        raise _invalid(one, value) from None
    if isinstance(plain, (int, float)) and not isinstance(plain, bool):
        low = -math.inf if one.minimum is None else one.minimum
        high = math.inf if one.maximum is None else one.maximum
        if not low <= plain <= high:  # also True for NaN
            raise _invalid(one, value)
    if one.choices is not None and plain not in one.choices:
        raise _invalid(one, value)
    return plain


def _plain(kind: Any, value: Any) -> Any:
    if kind is bool:
        if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):  # numpy bools
            raise TypeError
        return bool(value)
    if kind is int:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    if kind is float:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        return float(value)
    if kind is Path:
        return Path(value)
    if get_origin(kind) is tuple:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return tuple(_plain(get_args(kind)[0], item) for item in value)
    if not isinstance(value, kind):
        raise TypeError
    return value


def _invalid(one: Option, value: Any) -> MaclipError:
    if one.choices is not None:
        allowed = f"one of: {', '.join(one.choices)}"
    elif one.minimum is not None and one.maximum is not None:
        allowed = f"a number from {one.minimum:,} to {one.maximum:,}"
    elif one.minimum is not None:
        allowed = f"a number of {one.minimum:,} or more"
    else:
        allowed = {bool: "True or False", int: "a whole number", float: "a number", Path: "a path"}.get(
            one.kind, "text" if one.kind is str else "a value of its type"
        )
    return MaclipError("option-invalid", f"{one.flag} cannot be {value!r:.60}.", f"Give {allowed}.")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
