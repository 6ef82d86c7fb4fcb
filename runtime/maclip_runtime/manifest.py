"""`manifest.json`: what a bundle says of itself, as frozen dataclasses that refuse what they do not know.

The export writes it and the runtime reads it, both through this file, so the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from maclip_runtime.errors import MaclipError
from maclip_runtime.frames import Preprocess

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"

T = TypeVar("T")


@dataclass(frozen=True)
class Backbone:
    """The frozen CLIP: open_clip's name, where its weights came from, and their sha256."""

    name: str
    pretrained: str
    weights_sha256: str


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph: type name ("uint8", "float32", "bool"); a letter is a free axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphSpec:
    """One ONNX graph of the bundle: its file and what goes in and out."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class FileSpec:
    """Size in bytes and sha256 of one file of the bundle."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Names:
    """The vocabulary: how many names have a frozen text feature, and the prompts they were put into."""

    count: int
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Unknown:
    """When to answer "unknown": a distance above `distance` to the nearest class.

    `measured_on` says in words which clips that number comes from.
    """

    distance: float
    measured_on: str


@dataclass(frozen=True)
class GateFigure:
    """One graph against the float32 torch model on real frames: the worst differences found.

    `relative` is the largest absolute difference over the largest magnitude of the torch output;
    `limit` is what it must not pass. `cosine` is the worst cosine along the last axis.
    """

    relative: float
    cosine: float
    limit: float
    cases: int


@dataclass(frozen=True)
class Manifest:
    """Everything a device must know of a bundle (design.md, "The bundle").

    `trained` is False for a bundle of plain CLIP (`maclip export --frozen`). `adapted_depth` blocks, the
    last ones, carry adapters. `contract` is a hash of what makes features comparable: galleries keep it.
    `graphs` has `visual`, or `stem` and `tower`; and `prototype` and `match`.
    """

    schema: int
    tool_version: str
    backbone: Backbone
    trained: bool
    frames: int
    feature_width: int
    preprocess: Preprocess
    adapted_depth: int
    metric: str
    fusion_weight: float
    scale: float
    precision: str
    unknown: Unknown | None
    names: Names
    graphs: dict[str, GraphSpec]
    files: dict[str, FileSpec]
    gate: dict[str, GateFigure]
    contract: str

    def to_json(self) -> str:
        """The manifest as indented JSON text; `from_json` gives the same manifest back."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `to_json`'s text. Raises `bundle-schema`: other version, unknown or missing keys, wrong types."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise _schema_error(f"manifest.json is not JSON ({error}).") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA_VERSION:
            found = data.get("schema") if isinstance(data, dict) else None
            raise _schema_error(f"The bundle has schema {found!r}; this maclip reads schema {SCHEMA_VERSION}.")
        return from_dict(cls, data)


def from_dict(kind: type[T], data: object) -> T:
    """Build the frozen dataclass `kind` from JSON data. Raises `bundle-schema` on anything unexpected."""
    return cast(T, _convert(kind, data, kind.__name__))


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(kind, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _schema_error(f"{where} must be an object.")
        return {key: _convert(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple:
        return _convert_tuple(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise _schema_error(f"{where} must be {kind.__name__}, found {value!r:.60}.")
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
        raise _schema_error(f"{where} must be an object.")
    hints = get_type_hints(kind)
    unknown, missing = sorted(set(value) - set(hints)), sorted(set(hints) - set(value))
    if unknown or missing:
        what = f"unknown keys {unknown}" if unknown else f"no {missing}"
        raise _schema_error(f"{where} has {what}.")
    return kind(**{key: _convert(hint, value[key], f"{where}.{key}") for key, hint in hints.items()})


def _convert_tuple(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise _schema_error(f"{where} must be a list.")
    args = get_args(kind)
    hints = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
    if len(hints) != len(value):
        raise _schema_error(f"{where} must have {len(hints)} items.")
    return tuple(_convert(hint, item, where) for hint, item in zip(hints, value, strict=True))


def _schema_error(message: str) -> MaclipError:
    return MaclipError("bundle-schema", message, "Export the bundle again with this version of maclip.")
