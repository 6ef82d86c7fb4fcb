"""Public few-shot split lists: a file is a split, a line names a class and a clip.

Three styles are in use and recognised line by line: `train0/51958` and `train0//videos/cartwheel/a.avi` (CLIP-FSAR:
numbered classes, a path under the dataset), `cartwheel/a` (TRX) and `Pouring something/51958` (CMN: class names).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maclip.data.dataset import (
    SPLITS,
    ActionClass,
    Dataset,
    entries,
    is_clip,
    natural_name,
    refuse_overlap,
    refuse_undecodable,
    shown,
    sided,
)
from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import is_video

LIST_SUFFIXES = (".txt", ".list", ".csv")
NUMBERED = re.compile(r"(train|val|test)([0-9]+)")
MAX_CLIPS_NAMED = 3  # in an error


@dataclass(frozen=True)
class Line:
    """A line of a list: the label of the class, and the path of the clip under the dataset's folder."""

    label: str
    clip: str


@dataclass(frozen=True)
class SplitLists:
    """Where split lists are; recorded in a run's config.

    folder: holds the lists train*, val*, test*.
    names: file with class names, `FILE` or `FILE#KEY`; default None.
    skip_missing: skip clips that do not exist instead of raising `clips-missing`; default False.
    """

    folder: str
    names: str | None = None
    skip_missing: bool = False


def open_lists(root: Path, lists: Path, names: str | None = None, skip_missing: bool = False) -> Dataset:
    """The dataset of the clips under `root` that the split lists in the folder `lists` name.

    names: JSON or YAML file with class names, `FILE`, or `FILE#KEY` for a part of it: lists by split
        (`{"train": ["catch", …]}`, by number), or a map from labels to names. Default None: labels are the names.
    skip_missing: skip clips that do not exist; default False.
    Raises `lists-invalid`, `names-invalid`, `clips-missing`, `splits-overlap` and `classes-invalid`.
    """
    known = _read_names(names) if names else {}
    find = _Finder(root)
    classes: list[ActionClass] = []
    missing: list[str] = []
    for split, file in _split_files(lists):
        groups: dict[str, list[Path]] = {}
        folders: dict[str, set[str]] = {}
        for line in read_list(file):
            folders.setdefault(line.label, set()).add(Path(line.clip).parent.name)
            clip = find(line)
            found = groups.setdefault(line.label, [])
            if clip is None:
                missing.append(f"{file.name}: {line.label}/{line.clip}")
            else:
                found.append(clip)
        for label in sorted(groups, key=_natural):
            name = _name(split, label, folders[label], known, file)
            classes.append(ActionClass(name, split, not sided(name), tuple(dict.fromkeys(groups[label]))))
    if missing and not skip_missing:
        shown = "; ".join(missing[:MAX_CLIPS_NAMED])
        raise MaclipError(
            "clips-missing",
            f"{len(missing)} clips of the lists in {lists} are not under {root}. The first: {shown}.",
            "Check that DATA is the folder that the lists refer to, or skip these clips with --skip-missing.",
        )
    left_out = (f"left out: {len(missing)} clips of the lists do not exist, {missing[0]} first",) if missing else ()
    data = Dataset(root, tuple(c for c in classes if c.clips), left_out)
    if not data.classes:
        raise MaclipError("data-empty", f"No clip of the lists in {lists} is under {root}.", "Check DATA and --lists.")
    refuse_overlap(data)
    return data


def absolute(names: str) -> str:
    """`FILE` or `FILE#KEY` with an absolute path, so that a resumed run finds the file from any folder."""
    file, mark, key = names.partition("#")
    return f"{Path(file).resolve()}{mark}{key}"


def read_list(file: Path) -> Iterator[Line]:
    """The lines of a list. Raises `lists-invalid` with the line number."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(file, f"it cannot be read ({type(error).__name__})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        label, slash, clip = line.strip().removeprefix("./").partition("/")
        clip = clip.strip("/")
        if not slash or not label or not clip:
            raise _invalid(file, f"line {number} is {line[:60]!r}, not CLASS/CLIP")
        if ".." in Path(clip).parts or ".." in Path(label).parts:
            raise _invalid(file, f"line {number} leaves the dataset's folder")
        yield Line(label, clip)


class _Finder:
    """Finds the clips of a list under `root`: by path, with or without a video suffix, or by file name."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise MaclipError(
                "data-missing", f"There is no folder {shown(root)}.", "Give the folder that holds the clips."
            )
        refuse_undecodable([root.resolve()])
        self.root = root
        self._listed: dict[Path, dict[str, Path]] = {}

    def __call__(self, line: Line) -> Path | None:
        inside = Path(line.clip)
        places = [self.root / inside, self.root / line.label / inside, self.root / inside.name]
        match = NUMBERED.fullmatch(line.label)
        if match:
            places.append(self.root / match.group(1) / line.label / inside)
        for place in places:
            found = self._entry(place)
            if found is not None:
                return found
        return None

    def _entry(self, place: Path) -> Path | None:
        """The clip at `place`, with or without its suffix. Each folder is listed only once, because lists are long."""
        folder = self._listed.get(place.parent)
        if folder is None:
            folder = {}
            for entry in entries(place.parent) if place.parent.is_dir() else []:
                folder.setdefault(entry.name, entry)
                if is_video(entry):
                    folder.setdefault(entry.stem, entry)
            self._listed[place.parent] = folder
        found = folder.get(place.name)
        return found if found is not None and is_clip(found) else None


def _split_files(lists: Path) -> list[tuple[str, Path]]:
    """The list of each split: the file whose name begins with the split."""
    if not lists.is_dir():
        raise MaclipError(
            "lists-invalid", f"There is no folder {shown(lists)}.", "Give the folder that holds the lists."
        )
    refuse_undecodable([lists.resolve()])
    files: list[tuple[str, Path]] = []
    for split in SPLITS:
        fitting = [f for f in entries(lists) if f.name.startswith(split) and f.suffix in LIST_SUFFIXES]
        if len(fitting) > 1:
            raise _invalid(fitting[1], f"{fitting[0].name} is already the list of {split}")
        files += [(split, file) for file in fitting]
    if not files:
        raise MaclipError(
            "lists-invalid",
            f"{lists} holds no list: no file begins with train, val or test and ends with {', '.join(LIST_SUFFIXES)}.",
            "Give the folder that holds train*.txt, val*.txt and test*.txt.",
        )
    return files


def _name(split: str, label: str, folders: set[str], known: dict[str, str], file: Path) -> str:
    """The natural name of a class: from the file of names, else the label, else the folder of its clips."""
    if label in known:
        return known[label]
    if not NUMBERED.fullmatch(label):
        return natural_name(label)
    if len(folders) == 1 and (folder := next(iter(folders))):
        return natural_name(folder)
    fix = f'Give --class-names FILE with {{"{split}": [names in that order]}} or {{"{label}": "its name"}}.'
    if split == "val":  # some public files lack these names
        fix += f" Or remove {file.name}: without validation classes training keeps the last weights, not the best."
    raise MaclipError("names-invalid", f"{file.name} numbers its classes, and there is no name for {label}.", fix)


def _read_names(names: str) -> dict[str, str]:
    """Class names by label. Raises `names-invalid`."""
    name, _, key = names.partition("#")
    file = Path(name)
    try:
        data = _parse(file)
        for part in key.split(".") if key else ():
            data = data[part]
        if not isinstance(data, dict):
            raise ValueError("it is not a map")
        if any(isinstance(value, dict) for value in data.values()):
            raise ValueError(f"it has the parts {', '.join(map(str, data))}: choose one, as {file}#{next(iter(data))}")
        by_label: dict[str, str] = {}
        for label, value in data.items():
            listed = {f"{label}{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {label: value}
            for one, text in listed.items():
                if not isinstance(text, str) or not text.strip():
                    raise ValueError(f"{one} has no name")
                by_label[str(one)] = natural_name(text)
        return by_label
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise MaclipError(
            "names-invalid", f"{file} does not name classes: {what}.", 'Write {"train": ["catch", "throw"]}, or YAML.'
        ) from error


def _parse(file: Path) -> Any:
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix.lower() not in (".yaml", ".yml"):
        return read_json(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _natural(label: str) -> tuple[str, int]:
    match = NUMBERED.fullmatch(label)
    return (match.group(1), int(match.group(2))) if match else (label, 0)


def _invalid(file: Path, what: str) -> MaclipError:
    return MaclipError(
        "lists-invalid", f"{file} is not a split list: {what}.", "Write a line CLASS/CLIP for each clip."
    )
