"""Finds still pictures, which need not pass the network again."""

from __future__ import annotations

import math

import numpy as np

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Floats, Pixels

CELL = 8  # px a side: the mean over a cell removes most of a camera's noise


class MotionGate:
    """Compares each prepared frame with the last one that was not still.

    `levels`: the mean absolute difference, in grey levels of 0 to 255, below which a frame is still. Means over cells
    of 8 x 8 px are compared, so noise of 5 grey levels comes to 0.4; a hand that covers a hundredth of the picture and
    moves on comes to about 1. So 0.7 suits a fixed camera, and more a noisy one. Raises `motion-invalid`.
    """

    def __init__(self, levels: float) -> None:
        if not 0 <= levels < math.inf:
            raise MaclipError(
                "motion-invalid",
                f"{levels} is not a difference in grey levels.",
                "Give a number such as 1.0; 0: nothing is still.",
            )
        self._levels = levels
        self._reference: Floats | None = None

    def is_still(self, pixels: Pixels) -> bool:
        """Whether uint8 [size, size, 3] shows what the last frame that was not still did; the first frame never is."""
        cells = grey_cells(pixels)
        # Compared with the last frame that moved, not the last one, so that a slow drift adds up and is noticed.
        if self._reference is not None and float(np.abs(cells - self._reference).mean()) < self._levels:
            return True
        self._reference = cells
        return False

    def reset(self) -> None:
        """Forget the picture: the next frame is not still."""
        self._reference = None


def grey_cells(pixels: Pixels) -> Floats:
    """The mean grey level of each cell: uint8 [size, size, 3] -> float32 [size // 8, size // 8]."""
    across = max(1, len(pixels) // CELL)
    kept = pixels[: across * CELL, : across * CELL]
    size = len(kept) // across
    cells: Floats = kept.reshape(across, size, across, size * 3).mean(axis=(1, 3), dtype=np.float32)
    return cells


def gate_of(levels: object) -> MotionGate | None:
    """A new gate, None for none. Raises `motion-invalid`."""
    if levels is None:
        return None
    return MotionGate(values.number(levels, "motion_gate", code="motion-invalid", minimum=0))
