"""Options of a source: patience with a silent camera, and the region of interest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels

MAX_NAME_LENGTH = 200
STALL_SECONDS = 5.0  # without a frame, before a live source reconnects
MAX_STALL_SECONDS = 86400.0  # a day: the system's clocks cannot wait for much longer numbers


@dataclass(frozen=True)
class Roi:
    """A region of interest: left edge, top edge, width and height as fractions (0 to 1) of the upright picture.

    Raises `roi-invalid`.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        for name in ("x", "y", "width", "height"):
            value = values.number(getattr(self, name), f"The {name} of a region", code="roi-invalid")
            object.__setattr__(self, name, value)
        slack = 1e-6  # 0.7 + 0.3 is not 1 in binary
        inside = (
            min(self.x, self.y) >= 0
            and min(self.width, self.height) > 0
            and self.x + self.width <= 1 + slack
            and self.y + self.height <= 1 + slack
        )
        if not inside:
            raise _invalid(",".join(f"{value:g}" for value in (self.x, self.y, self.width, self.height)))

    @classmethod
    def parse(cls, text: str) -> Roi:
        """The region written as "x,y,w,h", fractions of the picture. Raises `roi-invalid`.

        >>> Roi.parse("0.5,0,0.5,1")
        Roi(x=0.5, y=0.0, width=0.5, height=1.0)
        """
        text = values.text(text, "A region", code="roi-invalid")
        try:
            x, y, width, height = (float(part) for part in text.split(","))
        except ValueError:
            raise _invalid(text) from None
        if not all(map(math.isfinite, (x, y, width, height))):
            raise _invalid(text)
        return cls(x, y, width, height)

    def view(self, pixels: Pixels) -> Pixels:
        """That part of a picture uint8 [H, W, 3], at least one pixel; a view, not a copy."""
        height, width = pixels.shape[:2]
        top, bottom = _span(self.y, self.height, height)
        left, right = _span(self.x, self.width, width)
        return pixels[top:bottom, left:right]


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How a source is read; all but `roi` and `name` concern live sources. Raises `option-invalid`.

    stall_s: seconds without a picture after which a live source reconnects; its state is "stalled" from half of that
        on. None: 5 s, and 65 s for the first picture of a connection that brings some, of which none can be decoded
        before its next key frame.
    reconnects: how many attempts in a row may fail before the source is given up with `source-lost`; None for no
        limit, 0 for no second attempt.
    wait: whether a source that does not answer at the start is waited for; otherwise opening fails after three
        attempts.
    roi: the part of the picture that is looked at; None for all of it.
    name: what events, statuses and files call the source; None for its address without credentials.
    insecure: accept any certificate of an `https://` or `rtsps://` address, also one that is forged.
    """

    stall_s: float | None = None
    reconnects: int | None = None
    wait: bool = False
    roi: Roi | None = None
    name: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.stall_s is not None:
            stall_s = values.number(self.stall_s, "stall_s", above=0, maximum=MAX_STALL_SECONDS)
            object.__setattr__(self, "stall_s", stall_s)
        if self.reconnects is not None:
            object.__setattr__(self, "reconnects", values.whole(self.reconnects, "reconnects", minimum=0))
        object.__setattr__(self, "wait", values.flag(self.wait, "wait"))
        object.__setattr__(self, "insecure", values.flag(self.insecure, "insecure"))
        if self.roi is not None:
            values.instance(self.roi, Roi, "roi")
        if self.name is not None:
            object.__setattr__(self, "name", source_name(self.name))

    @property
    def patience_s(self) -> float:
        """Seconds that the next packet, or picture, of a live source may take."""
        return STALL_SECONDS if self.stall_s is None else self.stall_s


DEFAULTS = SourceOptions()


def source_name(name: object) -> str:
    """The name that a program gives to a source: a short printable text. Raises `option-invalid`."""
    found = values.text(name, "name")
    if not found.strip() or not found.isprintable() or len(found) > MAX_NAME_LENGTH:
        raise MaclipError(
            "option-invalid",
            f"{values.shown(found)} cannot be the name of a source.",
            f"Give a short text, at most {MAX_NAME_LENGTH} characters, for instance door.",
        )
    return found


def _span(start: float, length: float, pixels: int) -> tuple[int, int]:
    """Index of the first pixel, and of the one after the last."""
    first = min(round(start * pixels), pixels - 1)
    return first, max(first + 1, min(round((start + length) * pixels), pixels))


def _invalid(text: str) -> MaclipError:
    return MaclipError(
        "roi-invalid",
        f"{text!r} is not a region of a picture.",
        "Give x,y,w,h as fractions of the picture, for instance 0.5,0,0.5,1 for its right half.",
    )
