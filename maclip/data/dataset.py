"""Datasets: a folder for each class with its clips, which are videos or folders of frames.

Three layouts are supported: a `classes.json` with names and splits (as `maclip synth` writes it); `train/`, `val/` and
`test/` folders of class folders; or class folders alone, which then belong to every split.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.bundle.names import name_key
from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError

SPLITS = ("train", "val", "test")
CLASSES_FILE = "classes.json"
VIDEO_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".gif"}
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MAX_FOLDERS_NAMED = 5  # in a message
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
    """The dataset in the folder `root`. Raises `data-missing`, `data-empty`, `classes-invalid` and `splits-overlap`."""
    root = Path(root)
    if not root.is_dir():
        raise MaclipError("data-missing", f"There is no folder {root}.", "Give a folder that holds a folder per class.")
    if (root / CLASSES_FILE).is_file():
        classes = _listed_classes(root)
    else:
        splits = [root / split for split in SPLITS if (root / split).is_dir()]
        classes = [c for split in splits for c in _folder_classes(split, split.name)] or _folder_classes(root, None)
    named = {clip.parent for c in classes for clip in c.clips}
    unused = [folder for folder in _folders_of_classes(root) if folder not in named]
    classes = [c for c in classes if c.clips]
    if not classes:
        raise MaclipError(
            "data-empty",
            f"{root} holds no class: no folder in it has a video or a folder of frames.",
            f"Lay it out as {root.name}/CLASS/CLIP.mp4, or {root.name}/train/CLASS/CLIP.mp4 and so on.",
        )
    data = Dataset(root, tuple(classes), _left_out(root, unused))
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
    """The natural name of a class, from its label.

    >>> natural_name("ride_bike"), natural_name("Closing [something]")
    ('ride bike', 'Closing something')
    """
    return " ".join(re.sub(r"[\[\]_]", " ", label).split())


def sided(name: str) -> bool:
    """Whether a class name contains left, right or clockwise, so that a mirrored clip shows another class."""
    return SIDED.search(name) is not None


def data_sha256(data: Dataset) -> str:
    """A digest of the list of clips, as hex: split, class name, file name and size of each, independent of order.

    It does not depend on the content of the files, which would take too long to read.
    """
    listed = sorted([c.split or "", c.name, clip.name, str(_bytes(clip))] for c in data.classes for clip in c.clips)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


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
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            name = natural_name(folder.name)
            classes.append(ActionClass(name, split, not sided(name), _clips(folder)))
    return classes


def _folders_of_classes(root: Path) -> list[Path]:
    """The folders that may be meant as classes: all under `root` or under its splits, except hidden ones."""
    places = [root / split for split in SPLITS if (root / split).is_dir() and not (root / CLASSES_FILE).is_file()]
    found = [folder for place in (root, *places) for folder in sorted(place.iterdir()) if folder not in places]
    return [folder for folder in found if folder.is_dir() and not folder.name.startswith(".")]


def _left_out(root: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    if not folders:
        return ()
    shown = ", ".join(str(folder.relative_to(root)) for folder in folders[:MAX_FOLDERS_NAMED])
    more = f" and {len(folders) - MAX_FOLDERS_NAMED} more" if len(folders) > MAX_FOLDERS_NAMED else ""
    return (f"left out: {shown}{more} in {root}: not a class of this dataset, or no clip in it",)


def _clips(folder: Path) -> tuple[Path, ...]:
    """Videos and folders of pictures directly inside a class's folder, by name."""
    if not folder.is_dir():
        return ()
    return tuple(entry for entry in sorted(folder.iterdir()) if is_clip(entry))


def _bytes(clip: Path) -> int:
    """The size of a video, or of all pictures of a folder; -1 if it cannot be read (the reader reports that)."""
    try:
        if not clip.is_dir():
            return clip.stat().st_size
        return sum(entry.stat().st_size for entry in clip.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES)
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
    """Whether a folder's entry is a video, or a folder of pictures."""
    if entry.name.startswith("."):
        return False
    if entry.is_dir():
        return any(picture.suffix.lower() in PICTURE_SUFFIXES for picture in entry.iterdir())
    return entry.suffix.lower() in VIDEO_SUFFIXES
