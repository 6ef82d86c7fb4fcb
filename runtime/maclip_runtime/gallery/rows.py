"""What a gallery holds, as frozen dataclasses, and how arrays and names are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maclip_runtime.decisions import UNCERTAIN, UNKNOWN
from maclip_runtime.errors import MaclipError
from maclip_runtime.frames import Floats

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

    `max_distance` is its calibrated limit (None: never calibrated); `stale` says that clips came or went since,
    so that the limit does not count any more.
    """

    name: str
    clips: int
    text_name: str | None
    duration_s: float
    enrolled_at: str
    max_distance: float | None = None
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


def clip_from(row: Sequence[Any]) -> EnrolledClip:
    """The clip of a row of `CLIP_COLUMNS`."""
    name, text_name, text, features, query, frames, width, digest, source, duration, quality, *rest = row
    thumbnail, enrolled_at, forced, clip_id = rest
    return EnrolledClip(
        name or NEGATIVE,
        text_name,
        None if text is None else vector_from(text),
        array_from(features, frames, width),
        array_from(query, frames, width),
        digest,
        source,
        duration,
        json.loads(quality),
        thumbnail,
        enrolled_at,
        clip_id,
        tuple(json.loads(forced)),
    )


def blob(array: Floats) -> bytes:
    """An array as the file keeps it: little-endian float32."""
    return np.ascontiguousarray(array, "<f4").tobytes()


def array_from(data: bytes, frames: int, width: int) -> Floats:
    """The float32 [frames, width] of a blob."""
    return np.frombuffer(data, "<f4").astype(np.float32).reshape(frames, width)


def vector_from(data: bytes) -> Floats:
    """The float32 [D'] of a blob."""
    return np.frombuffer(data, "<f4").astype(np.float32)
