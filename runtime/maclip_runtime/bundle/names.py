"""The bundle's vocabulary: action names and their frozen text features."""

from __future__ import annotations

import difflib
import unicodedata
from pathlib import Path

import numpy as np

from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.schema import corrupt_error, read_json
from maclip_runtime.bundle.vocabulary import UNIT_LENGTH
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Floats

NAMES_FILE = "names.json"
TEXT_FILE = "names.safetensors"
TEXT_TENSOR = "text"
MAX_SUGGESTIONS = 5
MAX_NAMES_BYTES = 64 << 20  # of names.json; a million names
MAX_NAME_LENGTH = 1000  # characters of a name of the vocabulary
BLANK = dict.fromkeys((0x115F, 0x1160, 0x2800), " ")  # letters and a Braille cell that look like a space
# What shows nothing and is not of the category Cf: joiners of marks, variation selectors, reserved format characters.
INVISIBLE = (
    (0x034F, 0x034F),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2065, 0x2065),
    (0xFE00, 0xFE0F),
    (0xFFF0, 0xFFF8),
    (0xE0000, 0xE0FFF),
)


def normal_form(name: str) -> str:
    """The form in which two names that look the same are equal; names of all kinds are compared in it.

    Characters are composed (NFKC), what looks like spaces is one space, and what nobody can see is left out.

    >>> normal_form("cafe\u0301 \u200d") == normal_form(" caf\u00e9")
    True
    """
    name = unicodedata.normalize("NFKC", name).translate(BLANK)
    seen = "".join(sign for sign in name if not _invisible(sign))
    # Once more: what stood on both sides of an invisible character may be composed now.
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def name_key(name: str) -> str:
    """The form in which two spellings of one action name of the vocabulary are equal.

    As `normal_form`; letter case and underscores do not matter either.

    >>> name_key(" Push_up ") == name_key("push  UP")
    True
    """
    return normal_form(normal_form(name).replace("_", " ").casefold())


def _invisible(sign: str) -> bool:
    """Whether a character shows nothing: of Unicode's Default_Ignorable_Code_Point, and other formats."""
    code = ord(sign)
    return unicodedata.category(sign) == "Cf" or any(low <= code <= high for low, high in INVISIBLE)


def find_name(names: tuple[str, ...], name: str) -> int | None:
    """The index of `name` in `names`, compared by `name_key`; None where it is missing."""
    wanted = name_key(name)
    return next((row for row, known in enumerate(names) if name_key(known) == wanted), None)


def name_unknown(names: tuple[str, ...], name: str) -> MaclipError:
    """The error `name-unknown` for `name`, with the most similar of `names`."""
    by_key = {name_key(known): known for known in names}
    nearest = [by_key[key] for key in difflib.get_close_matches(name_key(name), by_key, MAX_SUGGESTIONS, cutoff=0.4)]
    hint = f"; nearest: {', '.join(repr(known) for known in nearest)}" if nearest else ""
    return MaclipError(
        "name-unknown",
        f"{name!r} is not among the bundle's {len(names)} action names{hint}.",
        "Use --text NAME with one of them, --no-text to go without, or export with --names FILE or --text-encoder.",
    )


def read_names(path: Path, manifest: Manifest) -> tuple[tuple[str, ...], Floats]:
    """The names of the bundle in the folder `path` and their text features, float32 [n, D'].

    Features have length 1, or the length that CLIP gave them where the manifest's `names.text_length` is "raw".
    Raises `bundle-corrupt`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if (path / NAMES_FILE).stat().st_size > MAX_NAMES_BYTES:
            raise ValueError("too many names")
        data = read_json((path / NAMES_FILE).read_text(encoding="utf-8"))
        names = tuple(data["names"])
        if not isinstance(data["names"], list) or not all(
            isinstance(name, str) and len(name) <= MAX_NAME_LENGTH for name in names
        ):
            raise TypeError("names that are no text, or too long")
        stored = load_file(path / TEXT_FILE)[TEXT_TENSOR]
        text = np.asarray(stored, dtype=np.float32)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise corrupt_error(path, f"its action names cannot be read ({type(error).__name__})") from error
    if text.shape != (len(names), manifest.feature_width) or len(names) != manifest.names.count:
        raise corrupt_error(path, "its action names and their text features do not belong together")
    # float16 keeps the direction to 1e-6 but the length only to 1e-3.
    rescale = manifest.names.text_length == UNIT_LENGTH and stored.dtype != np.float32
    return names, unit_rows(text) if rescale else text


def unit_rows(rows: Floats) -> Floats:
    """Scale each row of [n, D'] to length 1; float32."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
