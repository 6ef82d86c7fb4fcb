"""What a program hands in, as plain Python values: the one place where public functions check their arguments.

Each function takes a value and `what` it is called, and returns a plain `float`, `int`, `bool`, `str` or array that
nobody else holds. Numbers may be of any numpy type. Whatever cannot be used is refused by its name, with `code`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from maclip_runtime.errors import MaclipError

Kind = TypeVar("Kind")

INVALID = "option-invalid"
MAX_SHOWN = 60  # characters of a value in a message
MAX_INTEGER = 2**63 - 1  # what SQLite stores


def number(
    value: object,
    what: str,
    *,
    code: str = INVALID,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
    infinite: bool = False,
) -> float:
    """A finite number from `minimum` to `maximum`, larger than `above`; with `infinite` an infinity too."""
    plain = _scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise refused(value, what, "a number", code)
    try:
        found = float(plain)
    except (OverflowError, ValueError, TypeError):
        raise refused(value, what, "a finite number", code) from None
    if math.isnan(found) or (math.isinf(found) and not infinite):
        raise refused(value, what, "a finite number", code)
    if not (minimum <= found <= maximum and found > above):
        raise refused(value, what, f"a number {_range(minimum, maximum, above)}", code)
    return found


def whole(
    value: object, what: str, *, code: str = INVALID, minimum: int = -MAX_INTEGER, maximum: int = MAX_INTEGER
) -> int:
    """A whole number from `minimum` to `maximum`."""
    plain = _scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, Integral):
        raise refused(value, what, "a whole number", code)
    found = int(plain)
    if not minimum <= found <= maximum:
        raise refused(value, what, f"a whole number {_range(minimum, maximum)}", code)
    return found


def flag(value: object, what: str, *, code: str = INVALID) -> bool:
    """True or False. Other values are refused, because "no" and 0.0 would count as the opposite of each other."""
    plain = _scalar(value)
    if not isinstance(plain, bool):
        raise refused(value, what, "True or False", code)
    return plain


def text(value: object, what: str, *, code: str = INVALID) -> str:
    """Text, as a plain `str`."""
    if not isinstance(value, str):
        raise refused(value, what, "text", code)
    return str.__str__(value)


def path(value: object, what: str, *, code: str = INVALID) -> str:
    """The path of a file or folder, or an address: text that is not empty, and has no NUL and no half character."""
    if isinstance(value, PathLike):
        value = os.fspath(value)
    found = text(value, what, code=code)
    if not found or "\0" in found or not _has_bytes(found):
        raise refused(value, what, "a path", code)
    return found


def paths(value: object, what: str, *, code: str = INVALID) -> list[str]:
    """One path or several."""
    if isinstance(value, (str, PathLike)):
        return [path(value, what, code=code)]
    return [path(one, what, code=code) for one in items(value, what, "a path or a list of paths", code=code)]


def address(value: object, what: str, *, code: str = INVALID) -> str | int:
    """A path or an address as text, or a camera's number."""
    if isinstance(value, (str, PathLike)):
        return path(value, what, code=code)
    try:
        return whole(value, what, minimum=0)
    except MaclipError:
        raise refused(value, what, "a path, an address or a camera's number", code) from None


def addresses(value: object, what: str, *, code: str = INVALID) -> list[str | int]:
    """One source or several, as a list of addresses and cameras' numbers."""
    if isinstance(value, (str, PathLike)) or not isinstance(value, Iterable):
        return [address(value, what, code=code)]
    return [address(one, what, code=code) for one in items(value, what, "a source or a list of sources", code=code)]


def items(value: object, what: str, wanted: str, *, code: str = INVALID) -> list[Any]:
    """The items of a list, a tuple, an array or another iterable, but not those of text, bytes or a mapping."""
    if isinstance(value, (str, bytes, bytearray, memoryview, dict)) or not isinstance(value, Iterable):
        raise refused(value, what, wanted, code)
    try:
        return list(value)
    except TypeError:  # an array without axes
        raise refused(value, what, wanted, code) from None


def instance(value: object, kind: type[Kind], what: str, *, code: str = INVALID) -> Kind:
    """An instance of a class."""
    if not isinstance(value, kind):
        raise refused(value, what, f"of the class {kind.__name__}", code)
    return value


def function(value: Kind, what: str, *, code: str = INVALID) -> Kind:
    """Something that can be called, or None."""
    if value is not None and not callable(value):
        raise refused(value, what, "a function", code)
    return value


def pixels(value: object, what: str, axes: str) -> npt.NDArray[np.uint8]:
    """A picture or several: uint8 with the `axes` "H, W, 3" or "N, H, W, 3", no picture empty.

    Not a copy: whoever keeps it copies it, because a camera's program fills its buffer again. Raises `frames-invalid`.
    """
    rank = axes.count(",") + 1
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != np.uint8
        or value.ndim != rank
        or value.shape[-1] != 3
        or 0 in value.shape[-3:]
    ):
        raise MaclipError(
            "frames-invalid", f"{what} is {shown(value)}, not uint8 [{axes}].", "Give RGB bytes in a numpy array."
        )
    return np.asarray(value)


def refused(value: object, what: str, wanted: str, code: str = INVALID) -> MaclipError:
    """The error for a `value` that is not `wanted`."""
    return MaclipError(code, f"{what} is {shown(value)}.", f"It must be {wanted}.")


def shown(value: object) -> str:
    """A value in a message: short, in one line, and never an error of its own."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array {value.dtype} {list(value.shape)}"
    if isinstance(value, Integral) and not isinstance(value, bool) and abs(value) >= 10**MAX_SHOWN:
        return "a whole number of too many digits"
    if isinstance(value, (list, tuple, set, dict)) and sys.getsizeof(value) > 1000:
        return f"a {type(value).__name__} of {len(value)} items"
    try:
        said = repr(value.item() if isinstance(value, (np.generic, np.ndarray)) else value)
    except Exception:  # a class of the caller's may do anything
        return f"of the type {type(value).__name__}"
    said = "".join(sign if sign.isprintable() else "?" for sign in said)
    return said if len(said) <= MAX_SHOWN else said[: MAX_SHOWN - 1] + "…"


def _has_bytes(path: str) -> bool:
    """Whether a file could be called so: half of a surrogate pair has no bytes."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def _scalar(value: object) -> object:
    """The Python value of a numpy scalar or of an array without axes."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 and value.dtype.kind in "biuf":
        return value.item()
    return value


def _range(minimum: float, maximum: float, above: float = -math.inf) -> str:
    if above > -math.inf and above >= minimum:
        return f"above {above:g}" + (f", at most {maximum:g}" if maximum < math.inf else "")
    low, high = minimum > -MAX_INTEGER, maximum < MAX_INTEGER
    if low and high:
        return f"from {minimum:g} to {maximum:g}"
    return f"of {minimum:g} or more" if low else f"of {maximum:g} or less"
