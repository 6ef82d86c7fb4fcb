"""Untrimmed video: long videos with a JSON file that says which action happens when.

The format is that of ActivityNet, which THUMOS14, HACS and FineAction use too:

    {"database": {"ID": {"subset": "training", "duration": 82.7,
                         "annotations": [{"segment": [6.1, 19.4], "label": "Long jump"}]}}}

or the inner object alone. A video is `ID` or `v_ID` with any video suffix, in the folder of videos or in its folder
named like the subset, unless the entry names its `file`, `path` or `filename` in the folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from maclip.data.dataset import entries, natural_name, refuse_undecodable, shown
from maclip.segments import Segment
from maclip_runtime.bundle.names import name_key
from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.formats import is_video

INVALID = "annotations-invalid"
SPLIT_OF = {
    **{"training": "train", "train": "train"},
    **{"validation": "val", "val": "val", "valid": "val"},
    **{"testing": "test", "test": "test"},
}
FILE_KEYS = ("file", "path", "filename")
DURATION_KEYS = ("duration", "duration_second")
# Annotators round: an end up to this far behind the last frame means the last frame.
MAX_OVERHANG_SECONDS = 0.5
MAX_PROBLEMS_NAMED = 3  # in an error
FIX = 'Write {"database": {"ID": {"subset": "training", "annotations": [{"segment": [1.5, 4.0], "label": "waving"}]}}}.'


@dataclass(frozen=True)
class UntrimmedVideo:
    """One video.

    path: of the file.
    segments: what happens in it, by start. Segments of different names may overlap. Empty: nothing is annotated.
    split: "train", "val" or "test"; None: not given.
    duration_s: as the annotations declare it; None: not given.
    """

    path: Path
    segments: tuple[Segment, ...]
    split: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True)
class AnnotationProblem:
    """What is wrong with the entry of one video, with an error's code."""

    video: str
    code: str
    message: str


@dataclass(frozen=True)
class Annotations:
    """The videos of a file of annotations that can be used, and what is wrong with the others."""

    videos: tuple[UntrimmedVideo, ...]
    problems: tuple[AnnotationProblem, ...]


def open_untrimmed(
    annotations: str | Path, videos: str | Path | None = None, *, skip_missing: bool = False
) -> tuple[UntrimmedVideo, ...]:
    """The videos of a JSON file of annotations, in its order.

    annotations: the file, in the format of ActivityNet.
    videos: folder of the videos; default: the folder of `annotations`.
    skip_missing: leave out videos whose file does not exist instead of raising `clips-missing`; default False.

    No video is opened: a segment is compared with the declared duration only. Raises `annotations-invalid`,
    `clips-missing`, `data-missing`, `data-empty` and `names-invalid`.
    """
    found = read_annotations(annotations, videos)
    for code, fix in ((INVALID, FIX), ("clips-missing", "Check --videos, or remove these videos from the file.")):
        own = [problem for problem in found.problems if problem.code == code]
        if own and not (skip_missing and code == "clips-missing"):
            first = " ".join(problem.message for problem in own[:MAX_PROBLEMS_NAMED])
            more = f" {len(own) - MAX_PROBLEMS_NAMED} more." if len(own) > MAX_PROBLEMS_NAMED else ""
            raise MaclipError(code, f"{annotations} cannot be used. {first}{more}", fix)
    if not found.videos:
        raise MaclipError("data-empty", f"{annotations} names no video that exists.", "Check the file and --videos.")
    return found.videos


def read_annotations(annotations: str | Path, videos: str | Path | None = None) -> Annotations:
    """The videos of a JSON file of annotations, and every problem of an entry. Arguments as for `open_untrimmed`.

    Raises `annotations-invalid` only where the file as a whole cannot be used.
    """
    file = Path(annotations)
    folder = Path(videos) if videos is not None else file.parent
    if not folder.is_dir():
        raise MaclipError("data-missing", f"There is no folder {shown(folder)}.", "Give the folder of the videos.")
    refuse_undecodable([file.resolve(), folder.resolve()])
    find = _Finder(folder)
    usable: list[UntrimmedVideo] = []
    problems: list[AnnotationProblem] = []
    owners: dict[Path, str] = {}
    for name, entry in _database(file).items():
        read = _Entry(name)
        video = read.video(entry, find)
        if video is not None and (other := owners.setdefault(video.path.resolve(), name)) != name:
            read.wrong(f"{other!r} is the same file")
        problems += read.problems
        if video is not None and not read.problems:
            usable.append(video)
    return Annotations(tuple(usable), tuple(problems))


def require_inside(video: UntrimmedVideo, duration_s: float) -> None:
    """Raise `annotations-invalid` if a segment leaves the file, which lasts `duration_s` seconds."""
    for one in video.segments:
        if one.start_s >= duration_s or one.end_s > duration_s + MAX_OVERHANG_SECONDS:
            raise MaclipError(
                INVALID,
                f"{video.path} lasts {duration_s:.1f} s; "
                f"its segment of {one.name!r} is from {one.start_s:g} to {one.end_s:g} s.",
                "Correct the segment, or remove it. maclip data check names them all.",
            )


def overlaps(segments: Sequence[Segment]) -> Iterator[tuple[Segment, Segment]]:
    """The pairs of segments that share some time, ordered by start."""
    ordered = sorted(segments, key=lambda one: one.start_s)
    for place, one in enumerate(ordered):
        for other in ordered[place + 1 :]:
            if other.start_s >= one.end_s:
                break
            yield one, other


def _database(file: Path) -> dict[str, Any]:
    """The entries by video. Raises `annotations-invalid`."""
    try:
        data = read_json(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise MaclipError(INVALID, f"{shown(file)} cannot be read ({error.strerror}).", "Give a JSON file.") from error
    except json.JSONDecodeError as error:
        raise _unusable(file, f"it is not JSON ({error})") from error
    except ValueError as error:  # two videos with one id, nested too deeply, not UTF-8
        raise _unusable(file, f"{error}") from error
    database = data.get("database", data) if isinstance(data, dict) else data
    if not isinstance(database, dict):
        raise _unusable(file, "it holds no object of videos by their ids")
    if not database:
        raise _unusable(file, "it names no video")
    if not any(isinstance(entry, dict) and "annotations" in entry for entry in database.values()):
        raise _unusable(file, "no video in it has annotations")
    return database


@dataclass
class _Entry:
    """Reads the entry of one video and notes what is wrong with it."""

    name: str
    problems: list[AnnotationProblem] = field(default_factory=list)

    def wrong(self, what: str, code: str = INVALID) -> None:
        self.problems.append(AnnotationProblem(self.name, code, f"{self.name!r}: {what}."))

    def video(self, entry: object, find: _Finder) -> UntrimmedVideo | None:
        """The video; None if it has no path."""
        if not isinstance(entry, dict):
            self.wrong("it is no object")
            return None
        duration_s = self._duration_s(entry)
        segments = self._segments(entry.get("annotations"), duration_s)
        split, subset = self._split(entry.get("subset"))
        path = self._path(entry, subset, find)
        return None if path is None else UntrimmedVideo(path, segments, split, duration_s)

    def _duration_s(self, entry: dict[str, Any]) -> float | None:
        value = next((entry[key] for key in DURATION_KEYS if entry.get(key) is not None), None)
        if value is None:
            return None
        seconds = _number(value)
        if seconds is None or seconds <= 0:
            self.wrong(f"its duration is {value!r:.40}, not a number of seconds above 0")
            return None
        return seconds

    def _split(self, subset: object) -> tuple[str | None, str]:
        """Our name of the split, and the file's."""
        if subset is None:
            return None, ""
        split = SPLIT_OF.get(subset.lower()) if isinstance(subset, str) else None
        if split is None:
            self.wrong(f"its subset is {subset!r:.40}, not training, validation or testing")
        return split, str(subset)

    def _segments(self, listed: object, duration_s: float | None) -> tuple[Segment, ...]:
        if not isinstance(listed, list):
            self.wrong("its annotations are no list")
            return ()
        found = [self._segment(one, duration_s) for one in listed]
        segments = tuple(sorted((one for one in found if one), key=lambda one: (one.start_s, one.end_s)))
        for one, other in overlaps(segments):
            if name_key(one.name) == name_key(other.name):
                self.wrong(f"two segments of {one.name!r} overlap, {_times(one)} and {_times(other)}; make them one")
        return segments

    def _segment(self, one: object, duration_s: float | None) -> Segment | None:
        if not isinstance(one, dict) or "segment" not in one or "label" not in one:
            self.wrong(f"the annotation {one!r:.60} has no segment and label")
            return None
        label, times = one["label"], one["segment"]
        name = natural_name(label) if isinstance(label, str) else ""
        if not any(letter.isalpha() for letter in name):
            self.wrong(f"the label {label!r:.40} is not made of words")
            return None
        pair = [_number(value) for value in times] if isinstance(times, list) else []
        if len(pair) != 2 or pair[0] is None or pair[1] is None:
            self.wrong(f"the segment {times!r:.60} of {name!r} is not two numbers of seconds")
            return None
        start_s, end_s = pair[0], pair[1]
        if not 0 <= start_s < end_s:
            self.wrong(f"the segment {times!r:.60} of {name!r} does not end after it starts, at 0 or later")
            return None
        if duration_s is not None and (start_s >= duration_s or end_s > duration_s + MAX_OVERHANG_SECONDS):
            self.wrong(f"the segment {times!r:.60} of {name!r} leaves the video, which lasts {duration_s:g} s")
            return None
        return Segment(name, start_s, end_s if duration_s is None else min(end_s, duration_s))

    def _path(self, entry: dict[str, Any], subset: str, find: _Finder) -> Path | None:
        given = next((entry[key] for key in FILE_KEYS if entry.get(key) is not None), None)
        inside = self.name if given is None else given
        if not isinstance(inside, str) or not inside or _leaves(inside):
            self.wrong(f"its file {inside!r:.60} is not a path inside the folder of videos")
            return None
        path = find.given(inside) if given is not None else find.by_id(inside, subset)
        if path is None:
            self.wrong(f"there is no video {shown(find.folder / inside)}", "clips-missing")
        return path


class _Finder:
    """Finds videos under `folder`. Each folder is listed once, because annotations are long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[Path, dict[str, Path]] = {}

    def given(self, inside: str) -> Path | None:
        """The file named `inside`, a path under the folder."""
        path = self.folder / inside
        return path if path.is_file() else None

    def by_id(self, name: str, subset: str) -> Path | None:
        """The video of an id, with any suffix and with or without ActivityNet's `v_`."""
        for folder in (self.folder, self.folder / subset if subset and not _leaves(subset) else self.folder):
            place = folder / name
            by_stem = self._videos(place.parent)
            for stem in (place.name, f"v_{place.name}"):
                if stem in by_stem:
                    return by_stem[stem]
        return None

    def _videos(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            found: dict[str, Path] = {}
            for entry in entries(folder) if folder.is_dir() else []:
                if is_video(entry):
                    found.setdefault(entry.name, entry)
                    found.setdefault(entry.stem, entry)
            self._listed[folder] = found
        return self._listed[folder]


def _leaves(inside: str) -> bool:
    """Whether a path leads, or might lead on another system, out of the folder that it is relative to."""
    both = (PurePath(inside), PureWindowsPath(inside))
    return "\0" in inside or any(path.anchor or ".." in path.parts for path in both)


def _number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _times(one: Segment) -> str:
    return f"{one.start_s:g} to {one.end_s:g} s"


def _unusable(file: Path, what: str) -> MaclipError:
    return MaclipError(INVALID, f"{shown(file)} is not a file of annotations: {what}.", FIX)
