"""Frozen dataclasses from JSON data; unknown keys and wrong types are refused. Manifests and runs are read with it."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from maclip_runtime.errors import MaclipError

T = TypeVar("T")


def read_json(text: str) -> Any:
    """Parse JSON. Raises ValueError for anything else, for duplicate keys and for nesting that is too deep."""
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def from_dict(kind: type[T], data: object) -> T:
    """Build the frozen dataclass `kind` from JSON data. Raises `bundle-schema` on anything unexpected."""
    return cast(T, _convert(kind, data, kind.__name__))


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(kind, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise schema_error(f"{where} must be an object.")
        return {key: _convert(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple:
        return _convert_tuple(kind, value, where)
    if kind is float and type(value) is int and abs(value) < 1 << 1023:  # a larger int has no float
        return float(value)
    if type(value) is not kind:
        raise schema_error(f"{where} must be {kind.__name__}, found {value!r:.60}.")
    return value


def _convert_union(kind: Any, value: Any, where: str) -> Any:
    options = get_args(kind)
    if value is None and type(None) in options:
        return None
    plain = [option for option in options if option is not type(None)]
    for option in plain:
        if type(value) is option:
            return value
    return _convert(plain[0], value, where)


def _convert_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise schema_error(f"{where} must be an object.")
    hints = get_type_hints(kind)
    unknown, missing = sorted(set(value) - set(hints)), sorted(set(hints) - set(value))
    if unknown or missing:
        what = f"unknown keys {unknown}" if unknown else f"no {missing}"
        raise schema_error(f"{where} has {what}.")
    return kind(**{key: _convert(hint, value[key], f"{where}.{key}") for key, hint in hints.items()})


def _convert_tuple(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise schema_error(f"{where} must be a list.")
    args = get_args(kind)
    hints = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
    if len(hints) != len(value):
        raise schema_error(f"{where} must have {len(hints)} items.")
    return tuple(_convert(hint, item, where) for hint, item in zip(hints, value, strict=True))


def schema_error(message: str) -> MaclipError:
    """The error `bundle-schema`: another version of maclip wrote the file, or it was edited."""
    return MaclipError("bundle-schema", message, "Export the bundle again with this version of maclip.")


def corrupt_error(path: object, why: str) -> MaclipError:
    """The error `bundle-corrupt`: the bundle at `path` is not what was exported; `why` ends the sentence."""
    return MaclipError(
        "bundle-corrupt",
        f"The bundle {path} cannot be trusted: {why}.",
        "Copy it again from where it was exported, or export it again.",
    )
