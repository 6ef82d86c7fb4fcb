"""The vocabulary of a bundle: action names from a file or a built-in list, and how they are stored."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from torch import Tensor

from maclip.backbones.loading import TINY
from maclip.data.dataset import natural_name
from maclip.model.maclip import MaClip
from maclip.runs import ClassNames
from maclip_runtime.bundle.names import NAMES_FILE, TEXT_FILE, TEXT_TENSOR, name_key
from maclip_runtime.bundle.vocabulary import Names
from maclip_runtime.errors import MaclipError

BUILT_IN = {"kinetics700": 700, "ssv2": 174, "hmdb51": 51, "ucf101": 101}  # names in each
FIX = "Write one name per line, a JSON or YAML list of names, or a mapping from folders to names."
TABLES = {".csv": ",;\t", ".tsv": "\t"}  # suffixes, and what may separate the columns
HEADINGS = ("name", "class_name", "class name", "classname", "action", "class", "label", "category", "text")
NUMBERED = re.compile(r"\s*([0-9]+)(?:\s*[,;:)\t]\s*|\.?\s+)(\S.*)")  # "1 ApplyEyeMakeup", "0,abseiling"
NUMBER_LAST = re.compile(r"\s*(\S.*?)\s*[,;\t ]\s*([0-9]+)\s*")


def read_names(source: str | Path) -> list[str]:
    """Action names in order, from a file or from a built-in list (kinetics700, ssv2, hmdb51, ucf101).

    A text file has one name per line; numbers counted up before or after them are left out. A `.csv` or `.tsv` has a
    column of names, with or without headings. `.json`, `.yaml` and `.yml` hold a list of names, a mapping to names
    (`{0: waving}`, or the `classes.json` of a dataset) or a mapping from names to numbers. Labels such as
    "ApplyEyeMakeup" and "ride_bike" become words (`natural_name`).
    Raises `names-invalid`: neither a file nor a list, unreadable, an empty name, or two names that a device could not
    tell apart.
    """
    path, spec = Path(source), str(source)
    if spec in BUILT_IN and not path.is_file():
        content = (files("maclip_export") / "name_lists" / f"{spec}.txt").read_text(encoding="utf-8")
        return _checked(content.splitlines(), spec, "line")
    if not _is_there(path):
        known = ", ".join(BUILT_IN)
        raise MaclipError(
            "names-invalid", f"{spec:.60} is neither a file nor a list of names.", f"The lists are {known}. {FIX}"
        )
    try:
        content = path.read_text(encoding="utf-8-sig")
        data = _parsed(content, path.suffix.lower())
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise MaclipError("names-invalid", f"{path} cannot be read as names ({why}).", FIX) from error
    if path.suffix.lower() in TABLES:
        return _checked(_column(content, TABLES[path.suffix.lower()], spec), spec, "row")
    if isinstance(data, str):
        return _checked(_unnumbered(data.splitlines()), spec, "line")
    return _checked(_listed(data, spec), spec, "name")


def vocabulary(classes: ClassNames | None, extra: Iterable[str] = ()) -> list[str]:
    """The names of all classes and `extra`, without duplicates (case and underscores make no difference).

    Raises `names-invalid` if one of `extra` is empty or holds half a character.
    """
    extra = list(extra)
    for number, name in enumerate(extra, start=1):
        _refuse_unusable(name, "names", f"name {number}")
    known = [*classes.train, *classes.val, *classes.test, *classes.other] if classes else []
    return list({name_key(name): name for name in [*extra, *known]}.values())


def default_names(backbone: str) -> list[str]:
    """The names in a bundle of plain CLIP when none are given: for the tiny CLIP those of the drawn world."""
    if backbone != TINY:
        return []
    from maclip.world.classes import FAMILIES, classes

    return [one.name for family in FAMILIES for one in classes(family)]


def write_names(folder: Path, names: Sequence[str], text: Tensor, model: MaClip, *, used: bool = True) -> Names:
    """Write the vocabulary into the bundle `folder`; returns its section of the manifest.

    text: f32 [n, D'], the features of `names` from `model.encode_names`, of length 1 or raw.
    used: whether devices enroll clips with their names where nobody says otherwise; default True.

    They are stored in half precision: 1,000 names of ViT-B take 1 MB, and a feature turns by less than a thousandth of
    a radian. The device converts them to float32 and scales those of length 1 to length 1 again.
    """
    templates = model.config.text.templates
    listed = {"names": list(names), "templates": list(templates)}
    (folder / NAMES_FILE).write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    stored = {TEXT_TENSOR: np.ascontiguousarray(text.numpy(), dtype=np.float16)}
    (folder / TEXT_FILE).write_bytes(save(stored))  # `save_file` reports a full disk as an error of its own
    return Names(len(names), templates, model.config.prototype.text_length, used)


def _is_there(path: Path) -> bool:
    """Whether `path` exists. A list of names given as a path may be too long for a file name."""
    try:
        return path.exists()
    except OSError:
        return False


def _parsed(content: str, suffix: str) -> Any:
    """The data of a JSON or YAML file, the text of any other. Raises ValueError."""
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


def _unnumbered(lines: list[str]) -> list[str]:
    """The names of lines that are numbered in order, from 0 or 1 on; other lines are names as they are."""
    for pattern, number, name in ((NUMBERED, 1, 2), (NUMBER_LAST, 2, 1)):
        found = [pattern.fullmatch(line) for line in lines]
        numbers = [int(match.group(number)) for match in found if match]
        if len(lines) > 1 and len(numbers) == len(lines) and sorted(numbers) in _counts(len(lines)):
            return [match.group(name) for match in found if match]
    return lines


def _counts(length: int) -> tuple[list[int], list[int]]:
    return list(range(length)), list(range(1, length + 1))


def _column(content: str, separators: str, spec: str) -> list[str]:
    """The column of names in a table: the one that is headed so, or the only one that is not of numbers.

    Raises `names-invalid`.
    """
    separator = max(separators, key=content.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(content.splitlines(), delimiter=separator)]
    except csv.Error as error:
        raise MaclipError("names-invalid", f"{spec} cannot be read as a table ({error}).", FIX) from error
    rows = [row for row in rows if any(row)]
    headings = [cell.lower() for cell in rows[0]] if rows else []
    width = max(map(len, rows), default=0)
    body = [[*row, *[""] * (width - len(row))] for row in rows]
    words = [i for i in range(width) if not all(row[i].isdecimal() or not row[i] for row in body[1:] or body)]
    named = next((i for heading in HEADINGS for i, cell in enumerate(headings) if cell == heading and i in words), None)
    if named is not None:
        return [row[named] for row in body[1:]]
    if len(words) > 1:
        raise MaclipError(
            "names-invalid",
            f"{spec} has {len(words)} columns of text, and none is headed 'name'.",
            "Head the column of names with 'name', or keep only that column.",
        )
    # A heading of its own over a column of numbers is no number.
    headed = any(not cell.isdecimal() for i, cell in enumerate(headings) if i not in words) and len(rows) > 1
    return [row[i] for row in body[1 if headed else 0 :] for i in words]


def _listed(data: Any, spec: str) -> list[str]:
    """The names in a list or mapping. Raises `names-invalid`."""
    if isinstance(data, dict) and isinstance(data.get("classes"), (dict, list)):
        data = data["classes"]
    if isinstance(data, dict):
        numbered = all(str(value).isdecimal() for value in data.values())
        data = list(data) if numbered else list(data.values())  # SSv2 has {"Closing something": "5"}
    if data is not None and not isinstance(data, list):
        raise MaclipError("names-invalid", f"{spec} holds neither a list nor a mapping of names.", FIX)
    names = [item["name"] if isinstance(item, dict) and "name" in item else item for item in data or []]
    for number, name in enumerate(names, start=1):
        if not isinstance(name, str):
            raise MaclipError(
                "names-invalid",
                f"{spec}: name {number} is {name!r:.60}, not text.",
                FIX,
            )
    return names


def _checked(names: Sequence[str], spec: str, unit: str) -> list[str]:
    """The natural names. Raises `names-invalid` for an empty name or a duplicate."""
    if not names:
        raise MaclipError("names-invalid", f"{spec} is empty.", FIX)
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        key = name_key(natural_name(name))
        _refuse_unusable(natural_name(name), spec, f"{unit} {number}")
        if key in seen:
            raise MaclipError(
                "names-invalid",
                f"{spec} has {natural_name(name)!r} twice ({unit}s {seen[key]} and {number}).",
                "Keep one of them; letter case, spaces and underscores make no difference.",
            )
        seen[key] = number
    return [natural_name(name) for name in names]


def _refuse_unusable(name: str, spec: str, where: str) -> None:
    """Raise `names-invalid` if `name`, at `where` in `spec`, is empty or holds half of a surrogate pair."""
    if not name_key(name):
        raise MaclipError("names-invalid", f"{spec}: {where} is empty.", FIX)
    if not name.isprintable() and any(0xD800 <= ord(sign) <= 0xDFFF for sign in name):
        raise MaclipError("names-invalid", f"{spec}: {where} holds half a character.", FIX)
