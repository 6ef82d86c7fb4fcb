"""Action names for a bundle's vocabulary: from a file, or one of the lists that come with the package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from torch import Tensor

from maclip.backbones.loading import TINY
from maclip.model.maclip import MaClip
from maclip.runs import ClassNames
from maclip_runtime.bundle.manifest import UNIT_LENGTH, Names
from maclip_runtime.bundle.names import NAMES_FILE, TEXT_FILE, TEXT_TENSOR, name_key
from maclip_runtime.errors import MaclipError

BUILT_IN = {"kinetics700": 700, "ssv2": 174, "hmdb51": 51, "ucf101": 101}  # names in each
FIX = "Give a name a line, a JSON or YAML list of names, or a mapping of folders to names."


def read_names(spec: str) -> list[str]:
    """Names in their order, from the file `spec` or the built-in list of that name.

    A file holds a name a line; `.json`, `.yaml` and `.yml` a list of names, a mapping to names (`{0: waving}`,
    or a data folder's `classes.json`), or one from names to numbers. Raises `names-invalid`: neither a file nor
    a list's name, unreadable, an empty name, or two that a device could not tell apart.
    """
    path = Path(spec)
    if spec in BUILT_IN and not path.is_file():
        content = (files("maclip_export") / "name_lists" / f"{spec}.txt").read_text(encoding="utf-8")
        return _checked(content.splitlines(), spec, "line")
    if not _is_there(path):
        known = ", ".join(BUILT_IN)
        raise MaclipError(
            "names-invalid", f"{spec:.60} is no file, and no list of names.", f"The lists are {known}. {FIX}"
        )
    try:
        content = path.read_text(encoding="utf-8-sig")
        data = _parsed(content, path.suffix.lower())
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise MaclipError("names-invalid", f"{path} cannot be read as names ({why}).", FIX) from error
    if isinstance(data, str):
        return _checked(data.splitlines(), spec, "line")
    return _checked(_listed(data, spec), spec, "name")


def vocabulary(classes: ClassNames | None, extra: Iterable[str] = ()) -> list[str]:
    """The names of the data's classes, of every split, and `extra`; each once, whatever its case or underscores.

    Raises `names-invalid` where one of `extra` is empty or cannot be written.
    """
    extra = list(extra)
    for number, name in enumerate(extra, start=1):
        _refuse_unusable(name, "names", f"name {number}")
    known = [*classes.train, *classes.val, *classes.test, *classes.other] if classes else []
    return list({name_key(name): name for name in [*extra, *known]}.values())


def default_names(backbone: str) -> list[str]:
    """The names a bundle of plain CLIP gets when none are given: those of the drawn world for the tiny CLIP."""
    if backbone != TINY:
        return []
    from maclip.world.classes import FAMILIES, classes

    return [one.name for family in FAMILIES for one in classes(family)]


def write_names(folder: Path, names: Sequence[str], text: Tensor, model: MaClip) -> Names:
    """Write the frozen vocabulary into the bundle `folder`; returns what the manifest says of it.

    `text` f32 [n, D'] are the features of `names` as `model.encode_names` gives them, of length 1 or raw. They are
    stored in half precision, which turns a feature by less than a thousandth of a radian and keeps 1,000 names of
    ViT-B in 1 MB. The device reads them as float32, and those of length 1 it scales to 1 again.
    """
    templates = model.config.text.templates
    listed = {"names": list(names), "templates": list(templates)}
    (folder / NAMES_FILE).write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    stored = {TEXT_TENSOR: np.ascontiguousarray(text.numpy(), dtype=np.float16)}
    (folder / TEXT_FILE).write_bytes(save(stored))  # `save_file` reports a full disk as an error of its own
    return Names(len(names), templates, UNIT_LENGTH)


def _is_there(path: Path) -> bool:
    """Whether `path` exists; no file's name is as long as a list of names that was given for one."""
    try:
        return path.exists()
    except OSError:
        return False


def _parsed(content: str, suffix: str) -> Any:
    """The data of a JSON or YAML file; any other is text. Raises ValueError."""
    if suffix == ".json":
        data = json.loads(content)
    elif suffix in (".yaml", ".yml"):
        import yaml

        try:
            data = yaml.safe_load(content)
        except yaml.YAMLError as error:
            raise ValueError(error) from error
    else:
        return content
    return [data] if isinstance(data, str) else data


def _listed(data: Any, spec: str) -> list[str]:
    """The names in a list or mapping. Raises `names-invalid`."""
    if isinstance(data, dict) and isinstance(data.get("classes"), (dict, list)):
        data = data["classes"]
    if isinstance(data, dict):
        numbered = all(str(value).isdecimal() for value in data.values())
        data = list(data) if numbered else list(data.values())  # {"Closing something": "5"} is how SSv2 does it
    if data is not None and not isinstance(data, list):
        raise MaclipError("names-invalid", f"{spec} is neither a list nor a mapping of names.", FIX)
    names = [item["name"] if isinstance(item, dict) and "name" in item else item for item in data or []]
    for number, name in enumerate(names, start=1):
        if not isinstance(name, str):
            raise MaclipError(
                "names-invalid",
                f"{spec} does not hold names alone: name {number} is {name!r:.60}, which is no text.",
                FIX,
            )
    return names


def _checked(names: Sequence[str], spec: str, unit: str) -> list[str]:
    """The names without stray spaces. Raises `names-invalid` with the places where one is empty or comes twice."""
    if not names:
        raise MaclipError("names-invalid", f"{spec} holds no names: it is empty.", FIX)
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        key = name_key(name)
        _refuse_unusable(name, spec, f"{unit} {number}")
        if key in seen:
            raise MaclipError(
                "names-invalid",
                f"{spec} has {name.strip()!r} twice ({unit}s {seen[key]} and {number}).",
                "Keep one of them; letter case, spaces and underscores make no difference.",
            )
        seen[key] = number
    return [name.strip() for name in names]


def _refuse_unusable(name: str, spec: str, where: str) -> None:
    """Raise `names-invalid` where `name`, which stands in `spec` at `where`, is empty or holds half a character."""
    if not name_key(name):
        raise MaclipError("names-invalid", f"{spec} does not hold names alone: {where} is empty.", FIX)
    if not name.isprintable() and any(0xD800 <= ord(sign) <= 0xDFFF for sign in name):
        raise MaclipError("names-invalid", f"{spec}: {where} holds half a character.", FIX)
