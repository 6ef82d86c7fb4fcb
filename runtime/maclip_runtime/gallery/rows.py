"""What a gallery holds, as frozen dataclasses, and how its rows are read and its arrays stored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maclip_runtime.reading.frames import Floats

NEGATIVE = ""  # class name of a negative: a clip that shows none of the classes


@dataclass(frozen=True)
class EnrolledClip:
    """One enrolled clip.

    class_name: `NEGATIVE` for a clip that shows none of the classes.
    text_name: the action's name from which `text` was made; None without text.
    text: text feature, float32 [D']; None without text.
    features: of the support branch, with the text where there is one, float32 [T, D'].
    query: of the query branch, float32 [T, D'].
    digest: SHA-256 of the sampled pixels.
    source: where it came from, without credentials.
    quality: figures by name, see `reading.quality`.
    thumbnail: a small JPEG of some frames side by side.
    enrolled_at: ISO 8601, UTC; "" until it is stored.
    id: its number in the gallery; 0 until it is stored.
    forced: codes of the reasons for rejection that --force overrode.
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
    """One enrolled clip without its arrays and picture."""

    id: int
    class_name: str
    text_name: str | None
    digest: str
    duration_s: float
    enrolled_at: str


@dataclass(frozen=True)
class ClassInfo:
    """One class of the gallery.

    clips: how many were enrolled.
    text_name: the action's name from which its text was made; None without text.
    duration_s: median duration of its clips.
    enrolled_at: when its newest clip was enrolled, ISO 8601, UTC.
    limit: its calibrated limit; None where it was not calibrated.
    stale: whether clips were added or removed since, so that the limit no longer applies.
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
    """A calibrated limit. It applies while the class has the clips, and the bundle the graphs, it was measured with.

    value: the distance above which the class's answer is "unknown".
    clips: `clips_key` of those clips.
    graphs: digests of those graphs.
    calibrated_at: ISO 8601, UTC.
    facts: the calibration's figures.
    """

    class_name: str
    value: float
    clips: str
    graphs: str
    calibrated_at: str
    facts: dict[str, Any]


def clips_key(clips: Iterable[Member | EnrolledClip]) -> str:
    """A digest of the clips (and texts) of a class; equal in another gallery with the same clips."""
    shown = sorted(f"{clip.digest} {clip.text_name or ''}" for clip in clips)
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()


CLIP_COLUMNS = (
    "class, text_name, text, features, query, frames, width, digest, source, duration_s, quality, thumbnail, "
    "enrolled_at, forced, id"
)


MEMBER_COLUMNS = "id, class, text_name, digest, duration_s, enrolled_at"
LIMIT_COLUMNS = "class, value, clips, graphs, calibrated_at, facts"


def clip_from(row: Sequence[Any]) -> EnrolledClip:
    """The clip of a row of `CLIP_COLUMNS`. Raises ValueError or TypeError for a row that maclip did not write."""
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
    """The clip of a row of `MEMBER_COLUMNS`. Raises what `clip_from` raises."""
    clip_id, name, text_name, digest, duration, enrolled_at = row
    shown = None if text_name is None else _text(text_name)
    return Member(clip_id, _text(name), shown, _text(digest), _seconds(duration), _text(enrolled_at))


def limit_from(row: Sequence[Any]) -> ClassLimit:
    """The limit of a row of `LIMIT_COLUMNS`. Raises what `clip_from` raises."""
    name, value, clips, graphs, calibrated_at, facts = row
    return ClassLimit(_text(name), _number(value), _text(clips), _text(graphs), _text(calibrated_at), _object(facts))


def blob(array: Floats) -> bytes:
    """An array as the file stores it: little-endian float32."""
    return np.ascontiguousarray(array, "<f4").tobytes()


def array_from(data: bytes, frames: int, width: int) -> Floats:
    """The array float32 [frames, width] of a blob. Raises ValueError where its size is another, or it is not finite."""
    array = np.frombuffer(_bytes(data), "<f4").astype(np.float32)
    if type(frames) is not int or type(width) is not int or array.size != frames * width:
        raise ValueError(f"its features are not {frames} x {width}")
    if not np.isfinite(array).all():
        raise ValueError("its features are not finite")
    return array.reshape(frames, width)


def vector_from(data: bytes, width: int) -> Floats:
    """The vector float32 [width] of a blob. Raises what `array_from` raises."""
    return array_from(data, 1, width)[0]


def shown_from(row: Sequence[Any]) -> tuple[str, str]:
    """Class and source, of a row of these two. Raises what `clip_from` raises."""
    name, source = row
    return NEGATIVE if name is None else _text(name), _text(source)


def shape_from(row: Sequence[Any]) -> tuple[int, int]:
    """The shape (T, D'), of a row of frames and width. Raises what `clip_from` raises."""
    frames, width = row
    if type(frames) is not int or type(width) is not int or frames < 1 or width < 1:
        raise ValueError(f"features cannot be {frames!r:.40} x {width!r:.40}")
    return frames, width


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise TypeError(f"{value!r:.40} is stored where bytes belong")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.40} is stored where text belongs")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.40} is stored where a number belongs")
    return float(value)


def _seconds(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError(f"a clip cannot last {value} s")
    return float(value)


def _list(value: str) -> list[Any]:
    found = json.loads(value)
    if not isinstance(found, list):
        raise TypeError(f"{value!r:.40} is stored where a JSON list belongs")
    return found


def _object(value: str) -> dict[str, Any]:
    found = json.loads(value)
    if not isinstance(found, dict):
        raise TypeError(f"{value!r:.40} is stored where a JSON object belongs")
    return found
