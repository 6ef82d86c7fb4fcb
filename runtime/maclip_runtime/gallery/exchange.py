"""A gallery as one file for other machines: a ZIP of JSON, safetensors and JPEGs. An import trusts none of it.

`gallery.json` describes the clips; `clips/N.safetensors` holds the features of clip N, `clips/N.jpg` its thumbnail.
Nothing is unpacked to disk. Members are stored, not compressed, so that nothing can expand. All that is read is checked
and has a bound before it is stored.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.errors import empty
from maclip_runtime.gallery.naming import MAX_TEXT_LENGTH, printable, valid_name
from maclip_runtime.gallery.rows import NEGATIVE, ClassLimit, EnrolledClip
from maclip_runtime.gallery.sheet import decoded
from maclip_runtime.gallery.store import Gallery
from maclip_runtime.gallery.storing import (
    MAX_CLIP_SECONDS,
    MAX_FIGURE,
    MAX_MAGNITUDE,
    MAX_SOURCE_LENGTH,
    flat,
    usable,
)
from maclip_runtime.sources import redact

FORMAT = "maclip-gallery"
FORMAT_VERSION = 1
INDEX = "gallery.json"
MIN_INDEX_BYTES = 1 << 20  # of gallery.json
MEMBER_BYTES = 8192  # more of it for each member: no clip needs as much, and parsed it takes twenty times the memory
MAX_CLIPS = 100_000
# Two members a clip, each named in less. Python makes an object of a kilobyte of each 46 bytes before it can be asked.
MAX_DIRECTORY_BYTES = 2 * MAX_CLIPS * 80
MAX_VALUES = 1 << 20  # numbers in one clip's features: T times D'
MAX_PICTURE_BYTES = 1 << 20
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
    joined: which of these were there before, so that their answers change.
    limits: how many calibrated limits were added.
    left: names of the classes of the file that `new_only` left out.
    """

    added: int
    skipped: int
    negatives: int
    classes: tuple[str, ...]
    joined: tuple[str, ...]
    limits: int
    left: tuple[str, ...] = ()


def export_gallery(gallery: Gallery, file: str | PathLike[str]) -> int:
    """Write all clips, negatives and calibrated limits to a new file, or nothing; returns how many clips.

    Raises `gallery-empty`, `output-exists`, `output-unwritable`.
    """
    file = Path(values.path(file, "file"))
    if os.path.lexists(file):
        raise MaclipError("output-exists", f"{file} exists already.", "Choose another name, or remove it first.")
    clips = [*gallery.clips(), *gallery.negatives()]
    if not clips:
        raise empty(gallery.path)
    if len(clips) > MAX_CLIPS:
        raise _unwritten(file, f"the gallery has {len(clips)} clips, and a file holds {MAX_CLIPS}")
    limits = [_limit_facts(limit) for limit in gallery.limits().values()]
    index = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "contract": gallery.contract,
        "clips": [_facts(clip) for clip in clips],
        "limits": limits,
    }
    # In the same folder, so that it can be renamed in one step.
    part = file.with_name(f".maclip-{secrets.token_hex(8)}.part")
    made = None
    try:
        # With the mode that umask says, as any new file has; those of `tempfile` are for their owner only.
        with part.open("xb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
            made = part
            archive.writestr(INDEX, json.dumps(index, ensure_ascii=False))
            for number, clip in enumerate(clips):
                archive.writestr(f"clips/{number}.safetensors", save(_arrays(clip)))
                archive.writestr(f"clips/{number}.jpg", clip.thumbnail)
        os.replace(made, file)
        made = None
    except OSError as error:
        raise _unwritten(file, str(error.strerror)) from error
    finally:
        if made:
            with suppress(OSError):
                os.unlink(made)
    return len(clips)


def import_gallery(gallery: Gallery, file: str | PathLike[str], *, new_only: bool = False) -> Imported:
    """Add the clips of an exported file, all or none.

    A clip with the same frames as one in its class is skipped. Clips of a class that exists join it, and so change its
    answers: `Imported.joined` names these classes. A calibrated limit is added where the class had none; it applies
    while the class's clips are those with which it was measured.

    new_only: add only the classes that the gallery has not, and negatives only to an empty gallery, so that nothing
        that is recognised already changes.

    Raises `import-corrupt` for anything that an export does not write, `contract-mismatch`, `output-unwritable`.
    """
    file, new_only = Path(values.path(file, "file")), values.flag(new_only, "new_only")
    try:
        if file.exists() and not file.is_file():  # reading a pipe would block
            raise corrupt(file, "it is not a file")
        with _BoundedFile(file) as raw, zipfile.ZipFile(raw) as archive:
            raw.opened = True
            reader = _Reader(file, archive)
            return _keep(gallery, reader, new_only)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise corrupt(file, f"it cannot be read ({error})") from error


def corrupt(file: Path, why: str) -> MaclipError:
    """The error `import-corrupt`; `why` continues the sentence."""
    return MaclipError(
        "import-corrupt",
        f"Nothing was imported from {file}: {why}.",
        "Give a file that `maclip-run gallery export` wrote.",
    )


def _unwritten(file: Path, why: str) -> MaclipError:
    return MaclipError(
        "output-unwritable", f"{file} cannot be written ({why}).", "Give a folder that you may write to."
    )


class _BoundedFile(io.FileIO):
    """A file for `zipfile`, which reads an archive's whole directory at once, before it is `opened`."""

    opened = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises `zipfile.BadZipFile` where the directory is larger than that of any export."""
        if not self.opened and size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("it has more members than an export has")
        return super().read(-1 if size is None else size) or b""


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
            index = json.loads(self._read(INDEX, MIN_INDEX_BYTES + MEMBER_BYTES * len(self._members)))
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
        self._check(isinstance(source, str) and len(source) <= MAX_SOURCE_LENGTH, f"clip {number} has an odd source")
        self._check(facts["text_name"] is None or _text(facts["text_name"]), f"clip {number} has an odd text_name")
        self._check(facts["class"] is None or _text(facts["class"]), f"clip {number} has an odd class")
        seconds = facts["duration_s"]
        self._check(_figure(seconds) and 0 < seconds <= MAX_CLIP_SECONDS, f"clip {number} has an odd duration_s")
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
        self._check(decoded(picture) is not None, f"the picture of clip {number} is not a small JPEG")
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
            array.dtype == np.float32 and array.shape == shapes[key] and usable(array) for key, array in arrays.items()
        )
        self._check(good, f"{name} has other arrays than float32 of {frames} x {width} up to {MAX_MAGNITUDE:g}")
        return dict(arrays)

    def _limit(self, facts: Any) -> ClassLimit:
        good = isinstance(facts, dict) and set(facts) == LIMIT_KEYS
        self._check(good, "a limit has other keys")
        texts = all(_text(facts[key]) for key in ("class", "clips", "graphs", "calibrated_at"))
        self._check(texts and _figure(facts["value"]), "a limit has odd values")
        self._check(flat(facts["facts"]), "a limit has odd figures")
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


def _keep(gallery: Gallery, reader: _Reader, new_only: bool) -> Imported:
    shapes = {(clip["frames"], clip["width"]) for clip in map(reader.checked, range(len(reader.facts)))}
    if len(shapes) != 1:
        raise corrupt(reader.file, f"its clips have {len(shapes)} different shapes")
    added: list[str] = []
    skipped = 0
    left: list[str] = []
    with gallery.importing(reader.contract, shapes.pop()) as importing:
        for number in range(len(reader.facts)):
            clip = importing.spelled(reader.clip(number))
            if new_only and importing.changes(clip.class_name):
                left.append(clip.class_name)
            elif importing.clip(clip):
                added.append(clip.class_name)
            else:
                skipped += 1
        limits = sum(importing.limit(limit, new_only=new_only) for limit in reader.limits)
    classes = tuple(dict.fromkeys(name for name in added if name != NEGATIVE))
    return Imported(
        len(added),
        skipped,
        added.count(NEGATIVE),
        classes,
        tuple(name for name in classes if importing.changes(name)),
        limits,
        tuple(dict.fromkeys("negatives" if name == NEGATIVE else name for name in left)),
    )


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
    return type(value) in (int, float) and abs(value) < MAX_FIGURE


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH and printable(value)
