"""What may be asked of a source: patience, and the part of its picture that counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels

STALL_SECONDS = 5.0  # how long a live source may bring nothing before it is connected again


@dataclass(frozen=True)
class Roi:
    """A part of the picture: left edge, upper edge, width and height as fractions of the upright picture, 0 to 1."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        values = (self.x, self.y, self.width, self.height)
        slack = 1e-6  # 0.7 + 0.3 is not 1 in binary
        inside = (
            all(math.isfinite(value) and value >= 0 for value in values)
            and self.width > 0
            and self.height > 0
            and self.x + self.width <= 1 + slack
            and self.y + self.height <= 1 + slack
        )
        if not inside:
            raise _invalid(",".join(f"{value:g}" for value in values))

    @classmethod
    def parse(cls, text: str) -> Roi:
        """From "x,y,w,h", fractions of the picture. Raises `roi-invalid`.

        >>> Roi.parse("0.5,0,0.5,1")
        Roi(x=0.5, y=0.0, width=0.5, height=1.0)
        """
        try:
            x, y, width, height = (float(part) for part in text.split(","))
        except ValueError:
            raise _invalid(text) from None
        return cls(x, y, width, height)

    def view(self, pixels: Pixels) -> Pixels:
        """That part of uint8 [H, W, 3], at least one pixel, without copying."""
        height, width = pixels.shape[:2]
        top, bottom = _span(self.y, self.height, height)
        left, right = _span(self.x, self.width, width)
        return pixels[top:bottom, left:right]


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read. All but `roi` is for live sources.

    `stall_s`: seconds without a frame after which a live source is connected again; its state is "stalled" from
    half of that on. `reconnects`: how many tries in a row may fail before the source is given up with
    `source-lost`; None tries forever, 0 never again. `wait`: a source that is not there at the start is waited for
    as one that was lost; without it, opening fails after three tries, which is what people at a terminal want.
    `roi`: the part of the picture that counts. Raises `option-invalid`.
    """

    stall_s: float = STALL_SECONDS
    reconnects: int | None = None
    wait: bool = False
    roi: Roi | None = None

    def __post_init__(self) -> None:
        if not 0 < self.stall_s < math.inf:
            raise MaclipError(
                "option-invalid", f"A stall of {self.stall_s} s is not possible.", "Give seconds above 0."
            )
        if self.reconnects is not None and self.reconnects < 0:
            raise MaclipError(
                "option-invalid", f"{self.reconnects} reconnects are not possible.", "Give 0 or more, or none for ever."
            )


DEFAULTS = SourceOptions()


def _span(start: float, length: float, pixels: int) -> tuple[int, int]:
    """The first pixel and the one after the last."""
    first = min(round(start * pixels), pixels - 1)
    return first, max(first + 1, min(round((start + length) * pixels), pixels))


def _invalid(text: str) -> MaclipError:
    return MaclipError(
        "roi-invalid",
        f"{text!r} is not a part of a picture.",
        "Give x,y,w,h as fractions, for instance 0.5,0,0.5,1 for the right half.",
    )
