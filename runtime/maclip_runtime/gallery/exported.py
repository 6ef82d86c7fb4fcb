"""Read an exported gallery, of which nothing is trusted: every part is checked and has a bound."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.naming import MAX_TEXT_LENGTH, printable, valid_name
from maclip_runtime.gallery.rows import NEGATIVE, ClassLimit, EnrolledClip
from maclip_runtime.gallery.sheet import decoded
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


def corrupt(file: Path, why: str) -> MaclipError:
    """The error `import-corrupt`; `why` continues the sentence."""
    return MaclipError(
        "import-corrupt",
        f"Nothing was imported from {file}: {why}.",
        "Give a file that `maclip-run gallery export` wrote.",
    )


class BoundedFile(io.FileIO):
    """A file for `zipfile`, which reads an archive's whole directory at once, before it is `opened`."""

    opened = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises `zipfile.BadZipFile` where the directory is larger than that of any export."""
        if not self.opened and size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("it has more members than an export has")
        return super().read(-1 if size is None else size) or b""


class ExportedGallery:
    """Reads an archive of `size` bytes and checks every part of it; `file` names it. Raises `import-corrupt`."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, size: int) -> None:
        self.file, self._archive = file, archive
        self._members = {info.filename: info for info in archive.infolist()}
        if len(self._members) != len(archive.infolist()):
            raise corrupt(file, "it has the same member twice")
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in self._members.values()):
            raise corrupt(file, "its members are compressed or encrypted")
        # Overlapping members could refer to the same bytes many times.
        if sum(info.file_size for info in self._members.values()) > size:
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


def _whole(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_VALUES


def _figure(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < MAX_FIGURE


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH and printable(value)
