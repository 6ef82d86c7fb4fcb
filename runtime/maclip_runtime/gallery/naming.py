"""Names of classes: which are possible, and which are the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from maclip_runtime import values
from maclip_runtime.bundle.names import name_key, normal_form
from maclip_runtime.decisions import UNCERTAIN, UNKNOWN
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.rows import NEGATIVE, EnrolledClip
from maclip_runtime.redaction import JOINERS

NAMES = "SELECT DISTINCT class FROM clips WHERE class NOT NULL"
MAX_NAME_LENGTH = 200  # characters
MAX_TEXT_LENGTH = 1000  # characters


def valid_name(name: str) -> str:
    """`name` without extra spaces, as it is stored and shown; names are compared in their `normal_form`.

    Raises `name-invalid` where it is no text, shows nothing, is not printable, too long, or looks like an answer.
    """
    name = " ".join(values.text(name, "A class's name", code="name-invalid").split())
    if (
        not normal_form(name)
        or not printable(name)
        or len(name) > MAX_NAME_LENGTH
        or name_key(name) in {UNKNOWN, UNCERTAIN}
    ):
        raise MaclipError(
            "name-invalid",
            f"{name[:MAX_NAME_LENGTH]!r} cannot name a class.",
            f"Give printable text other than {UNKNOWN!r} and {UNCERTAIN!r}, at most {MAX_NAME_LENGTH} characters.",
        )
    return name


def valid_text(text: object) -> str:
    """An action's name for the text branch: any printable text. Raises `name-invalid`."""
    found = values.text(text, "An action's text", code="name-invalid")
    if not printable(found) or len(found) > MAX_TEXT_LENGTH:
        raise MaclipError(
            "name-invalid",
            f"{found[:MAX_NAME_LENGTH]!r} cannot be an action's text.",
            f"Give printable text of at most {MAX_TEXT_LENGTH} characters.",
        )
    return found


def printable(text: str) -> bool:
    """Whether `text` has no control characters and no marks that change the direction of a line."""
    return "".join(sign for sign in text if sign not in JOINERS).isprintable()


class KnownNames:
    """The classes that a gallery has, found by `normal_form`; `rows` answer the query `NAMES`."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self._stored = {row[0] for row in rows if isinstance(row[0], str)}
        self._names = {normal_form(name): name for name in self._stored}

    def find(self, name: str) -> str | None:
        """The class as it is stored; None where there is none."""
        return name if name in self._stored else self._names.get(normal_form(name))

    def spelled(self, clip: EnrolledClip) -> EnrolledClip:
        """A clip under its class's stored name; a class that is new is known from now on. Raises `name-invalid`."""
        if clip.class_name == NEGATIVE:
            return clip
        name = valid_name(clip.class_name)
        found = self.find(name)
        if found is None:
            found = name
            self._stored.add(name)
            self._names[normal_form(name)] = name
        return replace(clip, class_name=found)
