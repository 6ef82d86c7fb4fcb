"""A gallery as one file for other machines: a ZIP of JSON, safetensors and JPEGs. An import trusts none of it.

`gallery.json` describes the clips; `clips/N.safetensors` holds the features of clip N, `clips/N.jpg` its thumbnail.
Nothing is unpacked to disk. Members are stored, not compressed, so that nothing can expand. All that is read is checked
before it is stored.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.errors import empty
from maclip_runtime.gallery.naming import printable, valid_name
from maclip_runtime.gallery.rows import NEGATIVE, ClassLimit, EnrolledClip
from maclip_runtime.gallery.store import Gallery
from maclip_runtime.sources import redact

FORMAT = "maclip-gallery"
FORMAT_VERSION = 1
INDEX = "gallery.json"
MAX_INDEX_BYTES = 256 << 20
MAX_CLIPS = 1_000_000
MAX_VALUES = 1 << 20  # numbers in one clip's features: T times D'
MAX_PICTURE_BYTES = 1 << 20
MAX_TEXT_LENGTH = 1000  # characters
MAX_FACTS_LENGTH = 10_000  # characters of a limit's figures as JSON
MAX_HEADER_BYTES = 4096  # names and shapes in a safetensors file
CLIP_KEYS = {
    "class", "text_name", "digest", "source", "duration_s", "quality", "forced", "enrolled_at", "frames", "width"
}  # fmt: skip
LIMIT_KEYS = {"class", "value", "clips", "graphs", "calibrated_at", "facts"}


@dataclass(frozen=True)
class Imported:
    """What an import did.

    added: how many clips were added, negatives included.
    skipped: how many were there already.
    negatives: how many of those added are negatives.
    classes: names of the classes that got clips.
    limits: how many calibrated limits were added.
    """

    added: int
    skipped: int
    negatives: int
    classes: tuple[str, ...]
    limits: int


def export_gallery(gallery: Gallery, file: str | PathLike[str]) -> int:
    """Write all clips, negatives and calibrated limits to a new file, or nothing; returns how many clips.

    Raises `gallery-empty`, `output-exists`, `output-unwritable`.
    """
    file = Path(file)
    if file.exists():
        raise MaclipError("output-exists", f"{file} exists already.", "Choose another name, or remove it first.")
    clips = [*gallery.clips(), *gallery.negatives()]
    if not clips:
        raise empty(gallery.path)
    limits = [_limit_facts(limit) for limit in gallery.limits().values()]
    index = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "contract": gallery.contract,
        "clips": [_facts(clip) for clip in clips],
        "limits": limits,
    }
    made = None
    try:
        # In the same folder, so that it can be renamed in one step.
        handle, made = tempfile.mkstemp(prefix=".maclip-", suffix=".part", dir=file.parent)
        with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(INDEX, json.dumps(index, ensure_ascii=False))
            for number, clip in enumerate(clips):
                archive.writestr(f"clips/{number}.safetensors", save(_arrays(clip)))
                archive.writestr(f"clips/{number}.jpg", clip.thumbnail)
        os.replace(made, file)
        made = None
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"{file} cannot be written ({error.strerror}).", "Give a folder that you may write to."
        ) from error
    finally:
        if made:
            with suppress(OSError):
                os.unlink(made)
    return len(clips)


def import_gallery(gallery: Gallery, file: str | PathLike[str]) -> Imported:
    """Add the clips of an exported file, all or none.

    A clip with the same frames as one in its class is skipped. Clips of a class that exists join it. A calibrated limit
    is added where the class had none; it applies while the class's clips are those with which it was measured.
    Raises `import-corrupt` for anything that an export does not write, `contract-mismatch`, `output-unwritable`.
    """
    file = Path(file)
    try:
        with zipfile.ZipFile(file) as archive:
            reader = _Reader(file, archive)
            return _keep(gallery, reader)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise corrupt(file, f"it cannot be read ({error})") from error


def corrupt(file: Path, why: str) -> MaclipError:
    """The error `import-corrupt`; `why` continues the sentence."""
    return MaclipError(
        "import-corrupt",
        f"Nothing was imported from {file}: {why}.",
        "Give a file that `maclip-run gallery export` wrote.",
    )


class _Reader:
    """Reads an archive and checks every part of it. Raises `import-corrupt`."""

    def __init__(self, file: Path, archive: zipfile.ZipFile) -> None:
        self.file, self._archive = file, archive
        self._members = {info.filename: info for info in archive.infolist()}
        if len(self._members) != len(archive.infolist()):
            raise corrupt(file, "it has the same member twice")
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in self._members.values()):
            raise corrupt(file, "its members are compressed or encrypted")
        # Overlapping members could refer to the same bytes many times.
        if sum(info.file_size for info in self._members.values()) > file.stat().st_size:
            raise corrupt(file, "its members claim more bytes than it has")
        try:
            index = json.loads(self._read(INDEX, MAX_INDEX_BYTES))
        except (ValueError, RecursionError) as error:
            raise corrupt(file, f"{INDEX} is not JSON") from error
        self._check_index(index)
        self.contract: str | None = index["contract"]
        self.facts: list[dict[str, Any]] = index["clips"]
        self.limits = [self._limit(facts) for facts in index["limits"]]
        wanted = {INDEX} | {f"clips/{n}.{kind}" for n in range(len(self.facts)) for kind in ("safetensors", "jpg")}
        if set(self._members) != wanted:
            raise corrupt(file, f"it holds other members than it should: {sorted(set(self._members) ^ wanted)[:3]}")

    def checked(self, number: int) -> dict[str, Any]:
        """The facts of clip `number`, after the whole clip was checked. Raises what `clip` raises."""
        self.clip(number)
        return self.facts[number]

    def clip(self, number: int) -> EnrolledClip:
        """Clip `number`. Raises `import-corrupt`, `name-invalid`."""
        facts = self.facts[number]
        self._check(isinstance(facts, dict) and set(facts) == CLIP_KEYS, f"clip {number} has other keys")
        frames, width = facts["frames"], facts["width"]
        self._check(_whole(frames) and _whole(width) and frames * width <= MAX_VALUES, f"clip {number} has odd sizes")
        for key in ("digest", "enrolled_at"):
            self._check(_text(facts[key]), f"clip {number} has an odd {key}")
        source = facts["source"]  # a path may hold characters that cannot be printed
        self._check(isinstance(source, str) and len(source) <= MAX_TEXT_LENGTH, f"clip {number} has an odd source")
        self._check(facts["text_name"] is None or _text(facts["text_name"]), f"clip {number} has an odd text_name")
        self._check(facts["class"] is None or _text(facts["class"]), f"clip {number} has an odd class")
        self._check(_figure(facts["duration_s"]) and facts["duration_s"] > 0, f"clip {number} has an odd duration_s")
        quality, forced = facts["quality"], facts["forced"]
        good = isinstance(quality, dict) and len(quality) <= 20
        good = good and all(_text(key) and _figure(value) for key, value in quality.items())
        self._check(good, f"clip {number} has odd quality figures")
        self._check(isinstance(forced, list) and len(forced) <= 20 and all(map(_text, forced)), "odd reasons")
        arrays = self._arrays(number, frames, width)
        self._check(
            (facts["text_name"] is None) == ("text" not in arrays), f"clip {number} has a text without its name"
        )
        picture = self._read(f"clips/{number}.jpg", MAX_PICTURE_BYTES)
        self._check(picture.startswith(b"\xff\xd8\xff"), f"the picture of clip {number} is not a JPEG")
        return EnrolledClip(
            NEGATIVE if facts["class"] is None else valid_name(facts["class"]),
            facts["text_name"],
            arrays.get("text"),
            arrays["features"],
            arrays["query"],
            facts["digest"],
            "".join(sign if sign.isprintable() else "?" for sign in redact(facts["source"])),
            float(facts["duration_s"]),
            {key: float(value) for key, value in quality.items()},
            picture,
            facts["enrolled_at"],
            forced=tuple(forced),
        )

    def _arrays(self, number: int, frames: int, width: int) -> dict[str, Any]:
        name = f"clips/{number}.safetensors"
        data = self._read(name, 4 * (2 * frames * width + width) + MAX_HEADER_BYTES)
        try:
            arrays = load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise corrupt(self.file, f"{name} cannot be read") from error
        shapes = {"features": (frames, width), "query": (frames, width), "text": (width,)}
        good = set(arrays) in ({"features", "query"}, set(shapes)) and all(
            array.dtype == np.float32 and array.shape == shapes[key] and bool(np.isfinite(array).all())
            for key, array in arrays.items()
        )
        self._check(good, f"{name} has other arrays than finite float32 of {frames} x {width}")
        return dict(arrays)

    def _limit(self, facts: Any) -> ClassLimit:
        good = isinstance(facts, dict) and set(facts) == LIMIT_KEYS
        self._check(good, "a limit has other keys")
        texts = all(_text(facts[key]) for key in ("class", "clips", "graphs", "calibrated_at"))
        figures = facts["facts"]
        self._check(texts and _figure(facts["value"]) and isinstance(figures, dict), "a limit has odd values")
        self._check(len(json.dumps(figures)) <= MAX_FACTS_LENGTH, "a limit has too many figures")
        return ClassLimit(
            valid_name(facts["class"]),
            float(facts["value"]),
            facts["clips"],
            facts["graphs"],
            facts["calibrated_at"],
            facts["facts"],
        )

    def _check_index(self, index: Any) -> None:
        self._check(isinstance(index, dict) and index.get("format") == FORMAT, f"{INDEX} does not describe a gallery")
        version = index.get("version")
        self._check(
            version == FORMAT_VERSION, f"it has version {version!r}; this version of maclip reads {FORMAT_VERSION}"
        )
        self._check(set(index) == {"format", "version", "contract", "clips", "limits"}, f"{INDEX} has other keys")
        self._check(_text(index["contract"]) and bool(index["contract"]), "it names no contract")
        for key in ("clips", "limits"):
            self._check(isinstance(index[key], list) and len(index[key]) <= MAX_CLIPS, f"its {key} are not a list")

    def _read(self, name: str, max_bytes: int) -> bytes:
        info = self._members.get(name)
        if info is None or info.file_size > max_bytes:
            raise corrupt(self.file, f"{name} is missing" if info is None else f"{name} is too large")
        return self._archive.read(info)

    def _check(self, good: bool, why: str) -> None:
        if not good:
            raise corrupt(self.file, why)


def _keep(gallery: Gallery, reader: _Reader) -> Imported:
    shapes = {(clip["frames"], clip["width"]) for clip in map(reader.checked, range(len(reader.facts)))}
    if len(shapes) != 1:
        raise corrupt(reader.file, f"its clips have {len(shapes)} different shapes")
    added: list[str] = []
    with gallery.importing(reader.contract, shapes.pop()) as importing:
        for number in range(len(reader.facts)):
            clip = reader.clip(number)
            if importing.clip(clip):
                added.append(clip.class_name)
        limits = sum(importing.limit(limit) for limit in reader.limits)
    classes = tuple(dict.fromkeys(name for name in added if name != NEGATIVE))
    return Imported(len(added), len(reader.facts) - len(added), added.count(NEGATIVE), classes, limits)


def _facts(clip: EnrolledClip) -> dict[str, Any]:
    frames, width = clip.features.shape
    return {
        "class": clip.class_name if clip.class_name != NEGATIVE else None,
        "text_name": clip.text_name,
        "digest": clip.digest,
        "source": clip.source,
        "duration_s": clip.duration_s,
        "quality": clip.quality,
        "forced": list(clip.forced),
        "enrolled_at": clip.enrolled_at,
        "frames": frames,
        "width": width,
    }


def _limit_facts(limit: ClassLimit) -> dict[str, Any]:
    return {
        "class": limit.class_name,
        "value": limit.value,
        "clips": limit.clips,
        "graphs": limit.graphs,
        "calibrated_at": limit.calibrated_at,
        "facts": limit.facts,
    }


def _arrays(clip: EnrolledClip) -> dict[str, Any]:
    arrays = {"features": clip.features, "query": clip.query}
    return arrays if clip.text is None else {**arrays, "text": clip.text}


def _whole(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_VALUES


def _figure(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH and printable(value)
