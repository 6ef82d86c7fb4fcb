"""What a gallery holds, as frozen dataclasses, and how arrays and names are kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maclip_runtime.decisions import UNCERTAIN, UNKNOWN
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Floats

NEGATIVE = ""  # the class of a negative: a clip that shows none of the classes
MAX_NAME = 200  # characters
JOINERS = "\u200c\u200d"  # unprintable to Python, but part of Persian words and of emoji


@dataclass(frozen=True)
class EnrolledClip:
    """One enrolled clip: `features` and `query` float32 [T, D'], `text` float32 [D'] or None.

    `class_name` is `NEGATIVE` for a clip of none of the classes. `features` are those of the support branch,
    `query` of the query branch. `source` has no credentials. `forced`: reason codes that --force overrode.
    """

    class_name: str
    text_name: str | None
    text: Floats | None
    features: Floats
    query: Floats
    digest: str
    source: str
    duration_s: float
    quality: dict[str, float]
    thumbnail: bytes = field(repr=False)
    enrolled_at: str = ""
    id: int = 0
    forced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """One enrolled clip without its arrays: what a list of thousands needs."""

    id: int
    class_name: str
    text_name: str | None
    digest: str
    duration_s: float
    enrolled_at: str


@dataclass(frozen=True)
class ClassInfo:
    """One class of the gallery: how many clips, the text name used with it, their median duration in seconds.

    `limit` is its calibrated limit (None: never calibrated); `stale` says that clips came or went since,
    so that the limit does not count any more.
    """

    name: str
    clips: int
    text_name: str | None
    duration_s: float
    enrolled_at: str
    limit: float | None = None
    stale: bool = False


@dataclass(frozen=True)
class ClassLimit:
    """A calibrated limit: the distance above which the class's answer is "unknown".

    `clips` is the `clips_key` of the clips and `graphs` the digests of the graphs that it was measured with;
    where either differs the limit does not count. `facts` are the calibration's figures, as it wrote them.
    """

    class_name: str
    value: float
    clips: str
    graphs: str
    calibrated_at: str
    facts: dict[str, Any]


def clips_key(clips: Iterable[Member | EnrolledClip]) -> str:
    """A digest of which clips (and texts) make up a class: the same in another gallery with the same clips."""
    shown = sorted(f"{clip.digest} {clip.text_name or ''}" for clip in clips)
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()


def valid_name(name: str) -> str:
    """A class name without stray spaces. Raises `name-invalid`: empty, unprintable, too long, or an answer's name."""
    name = " ".join(name.split())
    if (
        not name.strip(JOINERS)
        or not printable(name)
        or len(name) > MAX_NAME
        or name.casefold() in {UNKNOWN, UNCERTAIN}
    ):
        raise MaclipError(
            "name-invalid",
            f"{name[:MAX_NAME]!r} cannot name a class.",
            f"Give printable text other than {UNKNOWN!r} and {UNCERTAIN!r}, up to {MAX_NAME} characters.",
        )
    return name


def printable(text: str) -> bool:
    """Whether `text` prints as it reads: no control signs, no marks that turn the direction of a line."""
    return "".join(sign for sign in text if sign not in JOINERS).isprintable()


CLIP_COLUMNS = (
    "class, text_name, text, features, query, frames, width, digest, source, duration_s, quality, thumbnail, "
    "enrolled_at, forced, id"
)


MEMBER_COLUMNS = "id, class, text_name, digest, duration_s, enrolled_at"
LIMIT_COLUMNS = "class, value, clips, graphs, calibrated_at, facts"


def clip_from(row: Sequence[Any]) -> EnrolledClip:
    """The clip of a row of `CLIP_COLUMNS`. Raises ValueError and TypeError for one that maclip did not write."""
    name, text_name, text, features, query, frames, width, digest, source, duration, quality, *rest = row
    thumbnail, enrolled_at, forced, clip_id = rest
    if (text is None) != (text_name is None):
        raise ValueError(f"clip {clip_id} has a text without its name, or a name without its text")
    return EnrolledClip(
        NEGATIVE if name is None else _text(name),
        None if text_name is None else _text(text_name),
        None if text is None else vector_from(text, width),
        array_from(features, frames, width),
        array_from(query, frames, width),
        _text(digest),
        _text(source),
        _seconds(duration),
        {_text(key): _number(value) for key, value in _object(quality).items()},
        _bytes(thumbnail),
        _text(enrolled_at),
        clip_id,
        tuple(_text(reason) for reason in _list(forced)),
    )


def member_from(row: Sequence[Any]) -> Member:
    """The clip of a row of `MEMBER_COLUMNS`. Raises as `clip_from` does."""
    clip_id, name, text_name, digest, duration, enrolled_at = row
    shown = None if text_name is None else _text(text_name)
    return Member(clip_id, _text(name), shown, _text(digest), _seconds(duration), _text(enrolled_at))


def limit_from(row: Sequence[Any]) -> ClassLimit:
    """The limit of a row of `LIMIT_COLUMNS`. Raises as `clip_from` does."""
    name, value, clips, graphs, calibrated_at, facts = row
    return ClassLimit(_text(name), _number(value), _text(clips), _text(graphs), _text(calibrated_at), _object(facts))


def blob(array: Floats) -> bytes:
    """An array as the file keeps it: little-endian float32."""
    return np.ascontiguousarray(array, "<f4").tobytes()


def array_from(data: bytes, frames: int, width: int) -> Floats:
    """The float32 [frames, width] of a blob. Raises ValueError where it is another size, or not finite."""
    array = np.frombuffer(_bytes(data), "<f4").astype(np.float32)
    if type(frames) is not int or type(width) is not int or array.size != frames * width:
        raise ValueError(f"its features are not {frames} x {width}")
    if not np.isfinite(array).all():
        raise ValueError("its features are not finite")
    return array.reshape(frames, width)


def vector_from(data: bytes, width: int) -> Floats:
    """The float32 [width] of a blob. Raises as `array_from` does."""
    return array_from(data, 1, width)[0]


def shown_from(row: Sequence[Any]) -> tuple[str, str]:
    """Class and source of a row of these. Raises as `clip_from` does."""
    name, source = row
    return NEGATIVE if name is None else _text(name), _text(source)


def shape_from(row: Sequence[Any]) -> tuple[int, int]:
    """The (T, D') of a row of these. Raises as `clip_from` does."""
    frames, width = row
    if type(frames) is not int or type(width) is not int or frames < 1 or width < 1:
        raise ValueError(f"features cannot be {frames!r:.40} x {width!r:.40}")
    return frames, width


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise TypeError(f"{value!r:.40} stands where bytes belong")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.40} stands where a text belongs")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.40} stands where a number belongs")
    return float(value)


def _seconds(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError(f"a clip cannot last {value} s")
    return float(value)


def _list(value: str) -> list[Any]:
    found = json.loads(value)
    if not isinstance(found, list):
        raise TypeError(f"{value!r:.40} stands where a JSON list belongs")
    return found


def _object(value: str) -> dict[str, Any]:
    found = json.loads(value)
    if not isinstance(found, dict):
        raise TypeError(f"{value!r:.40} stands where a JSON object belongs")
    return found
