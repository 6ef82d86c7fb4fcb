"""Actors: how a moving shape looks, when it moves, and along which path."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maclip.world.scenes import COLOUR_JITTER
from maclip.world.shapes import COLOURS, KINDS, TEXTURES, Shape

Point = tuple[float, float]
Path = Callable[[float], Point]  # progress 0..1 -> (x, y)
Clock = Callable[[float], float]  # clip time 0..1 -> progress 0..1

MARGIN = 0.85  # least distance of a shape's centre from the border, in radii


@dataclass(frozen=True)
class Look:
    """How a shape looks, without a place. `colour` is RGB 0..255, `radius` in world units, `rotation` in radians."""

    kind: str
    colour: tuple[float, float, float]
    radius: float
    rotation: float
    texture: str
    phase: float

    def at(self, place: Point, scale: float = 1.0, turn: float = 0.0, opacity: float = 1.0) -> Shape:
        """The shape at `place`, `scale` times as large, turned by `turn` radians (clockwise as seen)."""
        return Shape(
            self.kind,
            self.colour,
            place[0],
            place[1],
            self.radius * scale,
            self.rotation + turn,
            self.texture,
            self.phase,
            opacity,
        )


@dataclass(frozen=True)
class Cast:
    """What a class fixes about the shape that moves; None means any."""

    colour: str | None = None
    kind: str | None = None


def _one_of(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]


def paint(rng: np.random.Generator, colour: str) -> tuple[float, float, float]:
    """A shade of the named colour."""
    r, g, b = (float(np.clip(c + rng.uniform(-COLOUR_JITTER, COLOUR_JITTER), 0, 255)) for c in COLOURS[colour])
    return (r, g, b)


def look(
    rng: np.random.Generator,
    cast: Cast | None = None,
    radius: tuple[float, float] = (0.13, 0.19),
    kinds: tuple[str, ...] = tuple(KINDS),
) -> Look:
    """A random look that agrees with `cast`; `radius` is a range in world units."""
    cast = cast or Cast()
    kind = cast.kind or _one_of(rng, kinds)
    colour = cast.colour or _one_of(rng, tuple(COLOURS))
    turned = float(rng.normal(0, 0.25))
    texture = _one_of(rng, TEXTURES)
    size = float(rng.uniform(*radius))
    return Look(kind, paint(rng, colour), size, turned, texture, float(rng.uniform(0, 6.28)))


def other_look(rng: np.random.Generator, first: Look, radius: tuple[float, float] = (0.12, 0.16)) -> Look:
    """A look of another kind and a clearly different colour than `first`."""
    while True:
        second = look(rng, radius=radius)
        away = sum(abs(a - b) for a, b in zip(first.colour, second.colour, strict=True))
        if second.kind != first.kind and away > 150:
            return second


def clock(rng: np.random.Generator, latest_start: float = 0.15, earliest_end: float = 0.85) -> Clock:
    """A random start, end and speed profile: monotone, 0 before it starts and 1 once it has ended."""
    start, end = float(rng.uniform(0, latest_start)), float(rng.uniform(earliest_end, 1))
    power, smooth = float(np.exp(rng.uniform(-0.35, 0.35))), float(rng.uniform(0, 1))

    def progress(time: float) -> float:
        part = min(max((time - start) / (end - start), 0.0), 1.0) ** power
        return part + smooth * (part * part * (3 - 2 * part) - part)

    return progress


def place_path(rng: np.random.Generator, path: Path, extent: float, radius: float) -> Path:
    """`path` scaled by `extent` and moved to a random place where a shape of `radius` stays inside the picture."""
    points = np.array([path(step / 48) for step in range(49)]) * extent
    low, high = points.min(axis=0), points.max(axis=0)
    free = np.maximum(1 - 2 * MARGIN * radius - (high - low), 0)  # (2,)
    # A path that is larger than the picture is centred and sticks out a little.
    start = 0.5 - (high - low) / 2 - free / 2 + free * rng.random(2)
    offset_x, offset_y = (float(v) for v in start - low)

    def placed(progress: float) -> Point:
        x, y = path(progress)
        return x * extent + offset_x, y * extent + offset_y

    return placed


def triangle_wave(cycles: float) -> float:
    """0 at whole cycles, 1 at half cycles, linear between."""
    return 1 - abs(2 * (cycles % 1) - 1)


def turn_about(centre: Point, distance: float, angle: float) -> Point:
    """The point `distance` from `centre` at `angle` radians (0 to the right, clockwise as seen)."""
    return centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle)


def random_point(rng: np.random.Generator, reach: float) -> Point:
    """A random point at least `reach` from the border; the centre if `reach` is too large."""
    free = max(0.5 - reach, 0.0)
    x, y = rng.uniform(-free, free, 2)
    return 0.5 + float(x), 0.5 + float(y)
