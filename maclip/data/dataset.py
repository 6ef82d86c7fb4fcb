"""Datasets: a folder for each class with its clips, which are videos or folders of frames.

Three layouts are supported: a `classes.json` with names and splits (as `maclip synth` writes it); `train/`, `val/` and
`test/` folders of class folders; or class folders alone, which then belong to every split. A folder `test/` that holds
clips itself is a class called test. `maclip_runtime.reading.formats` says what a clip is; whatever else lies in the
folders is named in `Dataset.left_out`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.bundle.names import name_key
from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import is_picture, is_video

SPLITS = ("train", "val", "test")
CLASSES_FILE = "classes.json"
MAX_FOLDERS_NAMED = 5  # in a message
MAX_SUFFIXES_NAMED = 8
# The words of a label such as "WatchTVAtHome": capitalised ones, and acronyms.
WORD = re.compile(r"[A-Z]+(?![a-z0-9])|[A-Z][a-z0-9]*")
CAMEL_CASE = re.compile(rf"(?:[a-z][a-z0-9]+)?(?:{WORD.pattern})+")
SIDED = re.compile(r"left|right|clockwise", re.IGNORECASE)


@dataclass(frozen=True)
class ActionClass:
    """One class.

    name: natural name.
    split: "train", "val" or "test"; None: every split.
    mirror: whether a mirrored clip still belongs to the class.
    clips: paths of its clips.
    """

    name: str
    split: str | None
    mirror: bool
    clips: tuple[Path, ...]


@dataclass(frozen=True)
class Dataset:
    """The classes found under `root`, ordered by folder name.

    left_out: messages about folders and clips that were skipped.
    """

    root: Path
    classes: tuple[ActionClass, ...]
    left_out: tuple[str, ...] = ()

    def split(self, name: str) -> tuple[ActionClass, ...]:
        """The classes of split `name`; all classes if the dataset has no splits. May be empty."""
        return tuple(c for c in self.classes if c.split in (name, None))

    def has_splits(self) -> bool:
        """Whether classes belong to train, val and test splits."""
        return any(c.split is not None for c in self.classes)


def open_folders(root: str | Path) -> Dataset:
    """The dataset in the folder `root`.

    Raises `data-missing`, `data-empty`, `names-invalid`, `classes-invalid` and `splits-overlap`.
    """
    root = Path(root)
    if not root.is_dir():
        raise MaclipError(
            "data-missing", f"There is no folder {shown(root)}.", "Give a folder that holds a folder per class."
        )
    refuse_undecodable([root.resolve()])
    splits = [] if (root / CLASSES_FILE).is_file() else _split_folders(root)
    if (root / CLASSES_FILE).is_file():
        classes = _listed_classes(root)
    else:
        classes = [c for split in splits for c in _folder_classes(split, split.name)] or _folder_classes(root, None)
    named = {clip.parent for c in classes for clip in c.clips}
    unused = [folder for folder in _folders_of_classes(root, splits) if folder not in named]
    classes = [c for c in classes if c.clips]
    if not classes:
        raise MaclipError(
            "data-empty",
            f"{root} holds no class: no folder in it has a video or a folder of frames.",
            f"Lay it out as {root.name}/CLASS/CLIP.mp4, or {root.name}/train/CLASS/CLIP.mp4 and so on.",
        )
    refuse_undecodable(clip for c in classes for clip in c.clips)
    data = Dataset(root, tuple(classes), (*_left_out(root, unused), *_no_clips(root, classes)))
    _refuse_half_split(data)
    refuse_overlap(data)
    return data


def refuse_overlap(data: Dataset) -> None:
    """Raise `splits-overlap` if a class name or a clip is in two splits: test accuracy would be meaningless.

    Raises `classes-invalid` if two classes of a split have the same name, or if a clip is in two classes or twice in
    one: it could then be support and query in the same episode.
    """
    seen: dict[str | Path | tuple[int, int], tuple[ActionClass, Path | None]] = {}
    for c in data.classes:
        # Clips are compared as files: one file under two names is one clip.
        keys = [(name_key(c.name), None), *((_file(clip), clip) for clip in c.clips)]
        for key, clip in keys:
            if key not in seen:
                seen[key] = (c, clip)
                continue
            other, first = seen[key]
            if other.split != c.split:
                what = f"The clip {clip}" if clip else f"The class {c.name!r}"
                raise MaclipError(
                    "splits-overlap",
                    f"{what} is in the splits {other.split} and {c.split}.",
                    "Keep each class in one split: few-shot accuracy is measured on classes that are not in training.",
                )
            if other is c:
                what = f"{first} and {clip}, two clips of the class {c.name!r}, are one file."
            elif clip:
                what = f"The clip {clip} is in the classes {other.name!r} and {c.name!r}."
            else:
                what = f"Two classes are called {c.name!r}, {other.clips[0].parent} and {c.clips[0].parent}."
            raise MaclipError(
                "classes-invalid", what, "Name each class differently and list each clip once, or make them one class."
            )


def _refuse_half_split(data: Dataset) -> None:
    """Raise `classes-invalid` if only some classes have a split: the others would be in training and in test."""
    without = [c.name for c in data.classes if c.split is None]
    if without and data.has_splits():
        raise MaclipError(
            "classes-invalid",
            f"{len(without)} of {len(data.classes)} classes have no split, {without[0]!r} first.",
            f"Give each class one of {', '.join(SPLITS)}, or none of them.",
        )


def natural_name(label: str) -> str:
    """The natural name of a class, from its label: words in lower case, acronyms as they are.

    >>> natural_name("ride_bike"), natural_name("Closing [something]")
    ('ride bike', 'Closing something')
    >>> natural_name("ApplyEyeMakeup"), natural_name("WatchTV"), natural_name("TV"), natural_name("iPhone")
    ('apply eye makeup', 'watch TV', 'TV', 'iPhone')
    """
    words = re.sub(r"[\[\]_]", " ", label).split()
    if " " in label.strip():
        return " ".join(words)  # a phrase: its capitals are meant
    if len(words) == 1:
        return " ".join(_words(words[0]))
    parts = [_words(word) for word in words]
    return " ".join(word if len(part) == 1 else " ".join(part) for word, part in zip(words, parts, strict=True))


def _words(label: str) -> list[str]:
    """The words of a label in camel case; any other label is one word."""
    if not CAMEL_CASE.fullmatch(label):
        return [label]
    first = re.match(r"[a-z0-9]*", label)
    assert first is not None
    words = [*([first.group()] if first.group() else []), *WORD.findall(label, first.end())]
    return [word if len(word) > 1 and word.isupper() else word.lower() for word in words]


def sided(name: str) -> bool:
    """Whether a class name contains left, right or clockwise, so that a mirrored clip shows another class."""
    return SIDED.search(name) is not None


def data_sha256(data: Dataset) -> str:
    """A digest of the list of clips, as hex: split, class name, file name and size of each, independent of order.

    It does not depend on the content of the files, which would take too long to read.
    """
    listed = sorted([c.split or "", c.name, clip.name, str(_bytes(clip))] for c in data.classes for clip in c.clips)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def shown(path: Path) -> str:
    """`path` as text that can be printed, with the bytes that are not UTF-8 written as \\xe9."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def refuse_undecodable(paths: Iterable[Path]) -> None:
    """Raise `names-invalid` for the first of `paths` whose name is not UTF-8: names are stored and printed as UTF-8."""
    for path in paths:
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError:
            raise MaclipError(
                "names-invalid",
                f"The name {shown(path)} is not UTF-8.",
                "Rename it; for a whole folder: convmv -f latin1 -t utf8 -r --notest FOLDER.",
            ) from None


def _listed_classes(root: Path) -> list[ActionClass]:
    try:
        listed = read_json((root / CLASSES_FILE).read_text(encoding="utf-8-sig"))["classes"]
        rows = [(folder, entry["name"], entry.get("split"), entry.get("mirror")) for folder, entry in listed.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _invalid(root, f"it could not be read ({error!r:.80})") from error
    classes = []
    for folder, name, split, mirror in sorted(rows):
        if split not in (*SPLITS, None):
            raise _invalid(root, f"{folder!r} has split {split!r}")
        if not isinstance(name, str) or not name.strip():
            raise _invalid(root, f"{folder!r} has no name")
        if Path(folder).name != folder or folder == "..":
            raise _invalid(root, f"{folder!r} is not the name of a folder beside it")
        if not (root / folder).is_dir():
            raise _invalid(root, f"there is no folder {folder!r} beside it")
        mirrored = not sided(name) if mirror is None else bool(mirror)
        classes.append(ActionClass(name, split, mirrored, _clips(root / folder)))
    return classes


def _invalid(root: Path, what: str) -> MaclipError:
    fix = 'Write it as {"classes": {"FOLDER": {"name": "waving a hand", "split": "train"}}}.'
    return MaclipError("classes-invalid", f"{root / CLASSES_FILE} is not a class list: {what}.", fix)


def _folder_classes(root: Path, split: str | None) -> list[ActionClass]:
    classes = []
    for folder in entries(root):
        if folder.is_dir() and not folder.name.startswith("."):
            refuse_undecodable([folder])
            name = natural_name(folder.name)
            classes.append(ActionClass(name, split, not sided(name), _clips(folder)))
    return classes


def _split_folders(root: Path) -> list[Path]:
    """The folders `train`, `val` and `test` that hold folders of clips. One that holds clips itself is a class."""
    found = [root / split for split in SPLITS if (root / split).is_dir()]
    return [folder for folder in found if not any(map(is_clip, entries(folder))) or _holds_classes(folder)]


def _holds_classes(folder: Path) -> bool:
    return any(is_clip(clip) for inner in entries(folder) if _is_plain_folder(inner) for clip in entries(inner))


def _is_plain_folder(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _folders_of_classes(root: Path, splits: Sequence[Path]) -> list[Path]:
    """The folders that may be meant as classes: all under `root` or under its `splits`, except hidden ones."""
    found = [folder for place in (root, *splits) for folder in entries(place) if folder not in splits]
    return [folder for folder in found if _is_plain_folder(folder)]


def _left_out(root: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    if not folders:
        return ()
    return (f"left out: {_some(root, folders)} in {root}: not a class of this dataset, or no clip in it",)


def _no_clips(root: Path, classes: Sequence[ActionClass]) -> tuple[str, ...]:
    """A message that names and counts what lies beside the clips and is none, except hidden files."""
    left: list[Path] = []
    for folder in sorted({clip.parent for c in classes for clip in c.clips}):
        left += [entry for entry in entries(folder) if not entry.name.startswith(".") and not is_clip(entry)]
    left += [entry for entry in entries(root) if entry.is_file() and is_clip(entry)]  # a clip of no class
    if not left:
        return ()
    kinds = Counter("folder" if entry.is_dir() else entry.suffix.lower() or "no suffix" for entry in left)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(MAX_SUFFIXES_NAMED))
    what = "1 entry is no clip" if len(left) == 1 else f"{len(left)} entries are no clips"
    return (f"left out: {_some(root, left)} in {root}: {what} of a class ({counted})",)


def _some(root: Path, paths: Sequence[Path]) -> str:
    """The first of `paths` under `root`, and how many more there are."""
    some = ", ".join(shown(path.relative_to(root)) for path in paths[:MAX_FOLDERS_NAMED])
    return some + (f" and {len(paths) - MAX_FOLDERS_NAMED} more" if len(paths) > MAX_FOLDERS_NAMED else "")


def _clips(folder: Path) -> tuple[Path, ...]:
    """Videos and folders of pictures directly inside a class's folder, by name."""
    return tuple(entry for entry in entries(folder) if is_clip(entry)) if folder.is_dir() else ()


def entries(folder: Path) -> list[Path]:
    """What lies in `folder`, by name. Raises `data-missing`."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise MaclipError(
            "data-missing",
            f"The folder {shown(folder)} cannot be listed ({error.strerror}).",
            "Give yourself the right to read it, or move it elsewhere.",
        ) from error


def _bytes(clip: Path) -> int:
    """The size of a video, or of all pictures of a folder; -1 if it cannot be read (the reader reports that)."""
    try:
        if not clip.is_dir():
            return clip.stat().st_size
        return sum(entry.stat().st_size for entry in clip.iterdir() if is_picture(entry))
    except OSError:
        return -1


def _file(clip: Path) -> tuple[int, int] | Path:
    """An identifier of a clip's file or folder on this machine that is independent of its name."""
    try:
        found = clip.stat()
    except OSError:  # a broken link
        return clip
    return (found.st_dev, found.st_ino) if found.st_ino else clip  # some file systems have no inode numbers


def is_clip(entry: Path) -> bool:
    """Whether a folder's entry is a video, or a folder of pictures. The reader says what is wrong with a locked one."""
    if entry.name.startswith("."):
        return False
    try:
        return any(map(is_picture, entry.iterdir())) if entry.is_dir() else is_video(entry)
    except OSError:
        return True
