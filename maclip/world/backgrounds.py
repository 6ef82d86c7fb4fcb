"""Backgrounds: muted two-colour pictures made from a small bank of fields, with specks as distractors."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from maclip.world.shapes import Canvas, Shape, View, draw

Field = npt.NDArray[np.float32]  # [BANK, BANK], 0..1

BANK = 256  # px, side of a stored field
FIELDS_PER_STYLE = 12
STYLES = ("gradient", "blobs", "noise", "stripes", "bricks", "tiles", "waves")


def _smooth_noise(rng: np.random.Generator, cells: int) -> Field:
    """Value noise with `cells` cells a side, linearly interpolated: float32 [BANK, BANK], 0..1."""
    grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
    at = np.linspace(0, cells, BANK, endpoint=False)
    low = at.astype(np.int64)
    part = (at - low).astype(np.float32)
    rows: Field = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    field: Field = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return field


def _field(style: str, rng: np.random.Generator) -> Field:
    row, column = np.mgrid[0:BANK, 0:BANK].astype(np.float32)
    period = float(rng.uniform(10, 28))
    angle = float(rng.uniform(0, np.pi))
    along = np.cos(angle) * column + np.sin(angle) * row
    if style == "gradient":
        field = np.sin(along * (2 * np.pi / (BANK * rng.uniform(0.8, 1.6)))) * 0.5 + 0.5
    elif style == "blobs":
        field = _smooth_noise(rng, int(rng.integers(8, 14)))
    elif style == "noise":
        field = 0.5 * _smooth_noise(rng, int(rng.integers(10, 20))) + 0.5 * rng.random((BANK, BANK))
    elif style == "stripes":
        field = (np.sin(along * (2 * np.pi / period)) > 0).astype(np.float32)
    elif style == "bricks":
        course = row // period
        shifted = column + (course % 2) * period
        field = 1.0 - ((row % period < 2.5) | (shifted % (2 * period) < 2.5))
        field = field * (0.75 + 0.25 * _smooth_noise(rng, 16))
    elif style == "tiles":
        field = ((row // period + column // period) % 2) * 0.8 + 0.2 * _smooth_noise(rng, 16)
    else:
        field = np.sin(along * (2 * np.pi / period) + 6 * _smooth_noise(rng, 5)) * 0.5 + 0.5
    return np.ascontiguousarray(field, dtype=np.float32)


@lru_cache(maxsize=1)
def _bank() -> Field:
    """All fields, float32 [styles * FIELDS_PER_STYLE, BANK, BANK]; deterministic."""
    rng = np.random.default_rng(20240)
    return np.stack([_field(style, rng) for style in STYLES for _ in range(FIELDS_PER_STYLE)])


def _muted(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A colour of low saturation, float32 [3], on which the saturated shapes stand out."""
    grey = rng.uniform(45, 190)
    return np.clip(grey + rng.uniform(-26, 26, 3), 20, 215).astype(np.float32)


def background(rng: np.random.Generator, size: int) -> Canvas:
    """A background, float32 [size, size, 3], 0..255. `size` <= BANK px."""
    fields = _bank()
    field = fields[rng.integers(len(fields))]
    # Small pictures sometimes take every second pixel, so that the scale of the pattern varies.
    step = 2 if 2 * size <= BANK and rng.random() < 0.5 else 1
    top, left = rng.integers(0, BANK - size * step + 1, 2)
    window = field[top : top + size * step : step, left : left + size * step : step]
    if rng.random() < 0.5:
        window = window[::-1, ::-1].T
    first = _muted(rng)
    second = np.clip(first + rng.uniform(-45, 45) + rng.uniform(-14, 14, 3), 15, 220).astype(np.float32)
    return first + window[..., None] * (second - first)


def add_specks(canvas: Canvas, rng: np.random.Generator, count: int) -> None:
    """Brighten or darken `count` small marks of float32 [H, W, 3], in place."""
    size = canvas.shape[0]
    for _ in range(count):
        height, width = rng.integers(1, max(2, size // 14), 2)
        top, left = rng.integers(0, size - height), rng.integers(0, size - width)
        canvas[top : top + height, left : left + width] += np.float32(rng.uniform(-45, 45))


def grey_shape(rng: np.random.Generator) -> Shape:
    """A small colourless shape: a distractor that no caption and no class mentions."""
    grey = float(rng.uniform(50, 170))
    x, y = rng.random(2)
    return Shape("square" if rng.random() < 0.5 else "circle", (grey, grey, grey), float(x), float(y),
                 float(rng.uniform(0.03, 0.055)), float(rng.uniform(0, 3)))  # fmt: skip


def finish(canvas: Canvas, view: View, shapes: list[Shape]) -> npt.NDArray[np.uint8]:
    """Draw `shapes` in order and convert to bytes: uint8 [size, size, 3]."""
    for shape in shapes:
        draw(canvas, view, shape)
    return np.clip(canvas, 0, 255).astype(np.uint8)
