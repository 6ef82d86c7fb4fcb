"""What goes into the gallery's file, checked and as plain values: nothing is stored that could not be read back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.naming import valid_name
from maclip_runtime.gallery.rows import NEGATIVE, ClassLimit, EnrolledClip, blob
from maclip_runtime.reading.frames import Floats
from maclip_runtime.redaction import one_line

MAX_CLIP_SECONDS = 86400.0  # a day
MAX_SOURCE_LENGTH = 8000  # characters; of a longer one the end is kept
MAX_MAGNITUDE = 1e4  # of a feature; networks give less than a hundred, and sums of squares of this stay finite
MAX_FACTS = 30  # of a limit
MAX_FACT_LENGTH = 1000  # characters
MAX_FIGURE = 1e12  # no clip's or limit's figure is as large
INVALID = "clip-invalid"


def storable(clip: EnrolledClip) -> dict[str, Any]:
    """The row of a clip, of plain values that `clip_from` reads back.

    Raises `clip-invalid` for anything else, `features-invalid` for features that are not finite or too large.
    """
    features, query = storable_array(clip.features, "features", 2), storable_array(clip.query, "query", 2)
    frames, width = features.shape
    text = None if clip.text is None else storable_array(clip.text, "text", 1)
    shapes = (query.shape, (width,) if text is None else text.shape)
    if shapes != ((frames, width), (width,)) or 0 in features.shape or (text is None) != (clip.text_name is None):
        raise MaclipError(
            INVALID,
            f"A clip's features are {list(features.shape)}, but not its query and text, or its text has no name.",
            "Give what Recognizer.enroll makes.",
        )
    quality = values.instance(clip.quality, dict, "quality", code=INVALID)
    return {
        "class": None if clip.class_name == NEGATIVE else valid_name(clip.class_name),
        "text_name": None if clip.text_name is None else _text(clip.text_name, "text_name"),
        "text": None if text is None else blob(text),
        "features": blob(features),
        "query": blob(query),
        "frames": frames,
        "width": width,
        "digest": _text(clip.digest, "digest"),
        "source": one_line(_text(clip.source, "source")[-MAX_SOURCE_LENGTH:]),
        "enrolled_at": _text(clip.enrolled_at, "enrolled_at"),
        "duration_s": values.number(clip.duration_s, "duration_s", code=INVALID, above=0, maximum=MAX_CLIP_SECONDS),
        "quality": json.dumps(
            {
                values.text(key, "A figure", code=INVALID): values.number(one, key, code=INVALID)
                for key, one in quality.items()
            }
        ),
        "thumbnail": bytes(values.instance(clip.thumbnail, bytes, "thumbnail", code=INVALID)),
        "forced": json.dumps([values.text(one, "A reason", code=INVALID) for one in clip.forced]),
    }


def storable_limit(limit: ClassLimit) -> tuple[str, float, str, str, str, str]:
    """The row of a limit, of plain values that `limit_from` reads back. Raises `clip-invalid`."""
    texts = [_text(getattr(limit, key), key) for key in ("clips", "graphs", "calibrated_at")]
    if not flat(limit.facts):
        raise values.refused(limit.facts, "facts", "an object of numbers, texts and short lists of numbers", INVALID)
    facts = json.dumps(limit.facts)
    value = values.number(limit.value, "A limit", code=INVALID, minimum=-MAX_FIGURE, maximum=MAX_FIGURE)
    return (valid_name(limit.class_name), value, texts[0], texts[1], texts[2], facts)


def usable(array: Floats) -> bool:
    """Whether features are finite and no larger than any network's, so that a class with them spoils no answer."""
    return bool(np.isfinite(array).all()) and float(np.abs(array).max(initial=0.0)) <= MAX_MAGNITUDE


def flat(facts: object) -> bool:
    """Whether a limit's figures are numbers, texts, and pairs of numbers: what is nested could break its readers."""
    if not isinstance(facts, dict) or len(facts) > MAX_FACTS:
        return False
    return all(_short(key) and (_short(one) or _plain(one) or _pair(one)) for key, one in facts.items())


def _short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_FACT_LENGTH


def _plain(value: object) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) < MAX_FIGURE)  # type: ignore[arg-type]


def _pair(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) <= 2 and all(_plain(one) for one in value)


def storable_array(array: object, what: str, rank: int) -> Floats:
    """Features as float32 with `rank` axes, finite and `usable`. Raises `clip-invalid`, `features-invalid`."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != rank:
        raise values.refused(array, what, "an array of floats", INVALID)
    if not usable(array):
        raise MaclipError(
            "features-invalid",
            f"A clip's {what} are not finite, or larger than {MAX_MAGNITUDE:g}.",
            "Try --device cpu; if that does not help, export the bundle again in float32.",
        )
    return np.asarray(array, np.float32)


def _text(value: object, what: str) -> str:
    """Text whose characters UTF-8 has; an undecodable byte of a path becomes a question mark."""
    return values.text(value, what, code=INVALID).encode("utf-8", "replace").decode()
